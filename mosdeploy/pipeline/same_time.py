"""How many steps of a subnet take as long as those of [finetune] do of the reference architecture.

In: a trained run, and an architecture. Out: a number of steps. The two are timed by turns, once:
who resumes reads what was found then.
"""

import contextlib
from functools import partial
from statistics import median
from typing import Literal

from pydantic import Field

from ..errors import StaleInputError
from ..record import Record
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, read_record, write_record
from .budget import busy
from .context import Progress
from .trained_run import TrainedRun

TURNS = 5
NUM_TIMED = 5
MAX_TIME_S = 5.0
"""Of a turn of either kind; two steps are timed in any case."""
LEAST, MOST = 0.5, 3.0
"""Times as many steps, whatever the trial says."""


class StepRatio(Record):
    """Steps of an architecture in the time of one of the reference architecture; what that depends
    on.
    """

    version: Literal[1] = 1
    inputs_sha256: str
    ratio: float = Field(gt=0, allow_inf_nan=False)


def own_steps(state: TrainedRun, arch: ArchConfig, progress: Progress) -> int:
    """Steps of one architecture: those of [finetune], or where it says `same_time`, as many as take
    as long.
    """
    steps = state.config.finetune.steps
    if not state.config.finetune.same_time:
        return steps
    found = step_ratio(state, arch, progress)
    ratio = min(max(found, LEAST), MOST)
    own = max(1, round(ratio * steps))
    bound = "" if ratio == found else f" (not {found:.2f} times as many: {LEAST:g} to {MOST:g} are)"
    progress.say(
        f"{own:,} steps of {arch.key[:8]} stand for {steps:,} of the reference architecture{bound}"
    )
    return own


def reference(state: TrainedRun) -> ArchConfig:
    """What the steps of [finetune] are of: for a time and limits, the largest within these."""
    budget = state.card.budget
    if budget is not None and budget.same_time and state.card.limits is not None:
        return state.card.limits.largest
    return state.spec.reference_arch()


def step_ratio(state: TrainedRun, arch: ArchConfig, progress: Progress) -> float:
    """Steps of an architecture in the time of one of the reference architecture, measured once."""
    config = state.config
    # not the reference, which follows from the workload: another one changes no winner's steps
    inputs_sha256 = fingerprint(
        arch,
        config.space,
        config.supernet,
        config.training.unlimited.fingerprinted,
        config.vocab_size,
        config.max_tokens,
    )
    path = state.files.step_ratio_path(arch.key)
    with contextlib.suppress(StaleInputError):
        known = read_record(StepRatio, path, "mosdeploy finetune")
        if known.inputs_sha256 == inputs_sha256:
            return known.ratio
    other = reference(state)
    if arch == other:
        return 1.0
    if told := busy():
        progress.say(told)
    progress.say(f"timing steps of {arch.key[:8]} and of the reference architecture by turns")
    ratio = median(_turn(state, other, arch) for _ in range(TURNS))
    write_record(path, StepRatio(inputs_sha256=inputs_sha256, ratio=ratio))
    return ratio


def _turn(state: TrainedRun, other: ArchConfig, arch: ArchConfig) -> float:
    """Time of a step of the other architecture, the reference, over that of one of this."""
    from ..training.cost import CostTask, step_seconds

    config = state.config
    examples = state.family.made_up_dataset(config)
    other_s, own_s = (
        step_seconds(
            CostTask(
                partial(state.family.fresh_subnet, one, config.space, config.vocab_size, seed=1),
                config.supernet,
                config.training.unlimited,
                examples,
                NUM_TIMED,
                MAX_TIME_S,
            )
        )
        for one in (other, arch)
    )
    return other_s / own_s
