"""The rival of a demo: the network that a person would design at the same limit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DeviceError, InfeasibleError
from ..printable import latency, milliseconds
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.options import FinetuneOptions
from ..run_folder.predictors import recent_cutoff
from ..run_folder.run import Run
from ..run_folder.summaries import HandDesigned
from ..spaces import Workload
from ..spaces.genes import ArchConfig, all_depths, largest_of_depths
from ..storage import atomic_write
from .finetune import finetune
from .measuring.collect import CollectRequest, collect


def hand_designed_path(context: Context) -> Path:
    """Return the file of the architecture, which is a name for `evaluate`."""
    return context.files.search_result_path.with_name("hand-designed.json")


def design_by_hand(
    context: Context, device: str, limit_ms: float, winner: ArchConfig
) -> HandDesigned:
    """Measure the shallower networks, and train the slowest that keeps the limit."""
    space = context.config.space
    archs = [largest_of_depths(space, depths) for depths in all_depths(space)]
    times_ms = _measured(context, device, archs)
    within = {arch: time for arch, time in times_ms.items() if time <= limit_ms}
    if not within:
        fastest_ms = min(times_ms.values())
        raise InfeasibleError(
            f"no network with fewer layers keeps {latency(limit_ms)}, the fastest takes "
            f"{milliseconds(fastest_ms)}",
            fastest_ms,
        )
    arch = max(within, key=lambda arch: within[arch])
    path = hand_designed_path(context)
    atomic_write(path, arch.model_dump_json().encode())
    # the winner had as many steps in the supernet's favour
    steps = None if arch == winner else 2 * context.config.finetune.steps
    finetune(context, FinetuneOptions(str(path), steps), from_teacher=True)
    exact = _with_workload(context, context.config.workload.changed({"precision": "fp32"}))
    return HandDesigned(
        arch=arch,
        measured_ms=within[arch],
        teacher_ms=times_ms[space.largest],
        teacher_fp32_ms=_measured(exact, device, [space.largest])[space.largest],
    )


def _measured(
    context: Context, device: str, archs: Sequence[ArchConfig]
) -> dict[ArchConfig, float]:
    """Return the median latency of each, in ms."""
    workload = context.config.workload
    profile = run_profile(context.files.root, device)
    path = context.files.verified_path(device, f"{workload.name}-{workload.precision}-by-hand")
    # timed by the same rule as the winner
    request = CollectRequest(profile, archs, path, renew=True, since=recent_cutoff())
    dataset = collect(context, request).dataset
    times_ms = {}
    for arch in archs:
        measurement = dataset.measured[arch.key].measurement
        if measurement.total is None:
            raise DeviceError(f"{device} could not time {arch}: {measurement.error}")
        times_ms[arch] = measurement.total.median_ms
    return times_ms


def _with_workload(context: Context, workload: Workload) -> Context:
    config = context.config.model_copy(update={"workload": workload})
    return replace(context, run=Run(context.run.workspace, config))
