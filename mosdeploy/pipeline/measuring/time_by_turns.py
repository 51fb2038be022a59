"""Time several models by turns on one device."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...printable import milliseconds
from ...records import Measurement
from ...run_folder.context import Context

if TYPE_CHECKING:
    from ...devices.device import Device
    from ...devices.measure import MeasurementTask

MIN_ROUNDS = 3
"""Fewer rounds cannot tell a difference between models from one between minutes."""
MAX_AGE_S = 3600.0
"""For how long the timings of a killed command count."""


def device_conditions(device: "Device") -> dict[str, str | None]:
    """What the times of a device depend on; a device that lacks something is refused."""
    from ...devices.probe import check_ready, describe
    from ...latency.dataset import board_conditions

    state = describe(device)
    check_ready(state, device.profile)
    return board_conditions(state)


def time_by_turns(
    context: Context, device: "Device", task: "MeasurementTask", keys: Sequence[str]
) -> dict[str, Measurement]:
    """Time every model in several rounds over all of them; the medians of the rounds count.

    The name of the task's job has to stand for all that the times depend on: the same command goes
    on with the job of a killed one.
    """
    from ...devices.job import AgentJob
    from ...devices.measure import MeasureHooks, collect

    profile = device.profile
    rounds = max(MIN_ROUNDS, profile.measure.rounds)
    measure = profile.measure.model_copy(update={"rounds": rounds})
    device = replace(device, profile=profile.model_copy(update={"measure": measure}))
    job = AgentJob(device, task.job_id)
    job.remove_results(MAX_AGE_S)
    found = {}
    hooks = MeasureHooks(notify=context.progress.say)
    for key, measurement in collect(device, task, keys, hooks):
        found[key] = measurement
        note = f"{key} failed: {measurement.error}"
        if measurement.total is not None:
            note = f"{key}: {milliseconds(measurement.total.median_ms)}"
        context.progress.update(f"measure on {profile.name}", len(found), len(keys), note)
    # the next command times them afresh, also those that failed
    job.remove("results.jsonl")
    return found
