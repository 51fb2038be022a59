"""Time several finished models by turns, afresh."""

from collections.abc import Sequence

from ..config.device import DeviceProfile
from ..records import Measurement
from .job import AgentJob
from .measure import collect
from .session import Session
from .task import NO_HOOKS, MeasureHooks, MeasurementTask

MIN_ROUNDS = 3
"""Fewer rounds cannot tell a difference between models from one between minutes."""
MAX_AGE_S = 3600.0
"""For how long what a killed comparison has timed counts."""


def compare(
    session: Session,
    profile: DeviceProfile,
    task: MeasurementTask,
    keys: Sequence[str],
    hooks: MeasureHooks = NO_HOOKS,
) -> dict[str, Measurement]:
    """Measure every key in `MIN_ROUNDS` rounds or more over all of them."""
    rounds = max(MIN_ROUNDS, profile.measure.rounds)
    measure = profile.measure.model_copy(update={"rounds": rounds})
    own = profile.model_copy(update={"measure": measure})
    job = AgentJob(session, own, task.job_id)
    job.remove_results(MAX_AGE_S)
    found = dict(collect(session, own, task, keys, hooks))
    job.remove("results.jsonl")
    return found
