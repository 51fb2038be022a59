"""The rival of a demo: the net that a person would pick by hand at the same limit."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DeviceError, InfeasibleError
from ..printable import latency, milliseconds
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.predictors import recent_cutoff
from ..run_folder.run import Run
from ..run_folder.summaries import HandPicked
from ..run_folder.workloads import changed_workload
from ..spaces import Workload
from ..spaces.genes import ArchConfig, all_depths, largest_of_depths
from ..storage import atomic_write
from .collect import CollectRequest, collect
from .finetune import FinetuneOptions, finetune


def hand_picked_path(context: Context) -> Path:
    """Where the architecture is written: a name for `evaluate`."""
    return context.files.search_result_path.with_name("hand-picked.json")


def pick_by_hand(context: Context, device: str, limit_ms: float, winner: ArchConfig) -> HandPicked:
    """Measure the shallower nets, and train the slowest that keeps the limit."""
    space = context.config.space
    archs = [largest_of_depths(space, depths) for depths in all_depths(space)]
    times_ms = _measured(context, device, archs)
    within = {arch: time for arch, time in times_ms.items() if time <= limit_ms}
    if not within:
        fastest_ms = min(times_ms.values())
        raise InfeasibleError(
            f"no net with fewer layers keeps {latency(limit_ms)}, the fastest takes "
            f"{milliseconds(fastest_ms)}",
            fastest_ms,
        )
    picked = max(within, key=lambda arch: within[arch])
    path = hand_picked_path(context)
    atomic_write(path, picked.model_dump_json().encode())
    steps = None if picked == winner else 2 * context.config.finetune.steps
    finetune(context, FinetuneOptions(str(path), steps, from_teacher=True))
    exact = changed_workload(context.config.workload, "fp32")
    return HandPicked(
        arch=picked,
        measured_ms=within[picked],
        teacher_ms=times_ms[space.largest],
        teacher_fp32_ms=_measured(_at(context, exact), device, [space.largest])[space.largest],
    )


def _measured(
    context: Context, device: str, archs: Sequence[ArchConfig]
) -> dict[ArchConfig, float]:
    """Median latency of each, in ms."""
    workload = context.config.workload
    profile = run_profile(context.files.root, device)
    path = context.files.verified_path(device, f"{workload.name}-{workload.precision}-by-hand")
    # the winner beside which they stand was timed by the same rule
    request = CollectRequest(profile, archs, path, renew=True, since=recent_cutoff())
    dataset = collect(context, request).dataset
    times_ms = {}
    for arch in archs:
        measurement = dataset.measured[arch.key].measurement
        if measurement.total is None:
            raise DeviceError(f"{device} could not time {arch}: {measurement.error}")
        times_ms[arch] = measurement.total.median_ms
    return times_ms


def _at(context: Context, workload: Workload) -> Context:
    """The same run under another workload."""
    config = context.config.model_copy(update={"workload": workload})
    return Context(Run(context.run.workspace, config), context.progress, context.ssh_config)
