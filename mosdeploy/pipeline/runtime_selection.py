"""Which runtime a bundle is built for: what compiles for TVM, and which of two bundles is faster on
a device.
"""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError, DeviceError, DeviceTimeoutError, ExportError
from ..folders import remove_scratch
from ..records import Measurement, Runtime
from ..run_folder.bundles import bundle_spec, note_newest
from ..run_folder.context import Context
from ..run_folder.deployments import deployment_slot
from ..run_folder.devices import lasting_session, run_profile, sole_deployment
from ..run_folder.summaries import RuntimeChoice, RuntimeTiming
from ..storage import disk_errors
from .export_job import ExportOptions, ExportResult
from .exported import ExportedSubnet

if TYPE_CHECKING:
    from ..export.bundle import BuiltModel, ModelBuilder
    from ..export.tvm import Processor


ROUNDS = 3
"""How often each runtime is timed, by turns: fewer cannot tell a difference between runtimes from
one between minutes.
"""


def processor_of(profile: DeviceProfile) -> "Processor":
    """What to compile for, from a device profile."""
    from ..export.tvm import Processor

    if profile.provider != "CPUExecutionProvider":
        raise ConfigError(
            f"'{profile.name}' works with {profile.provider}; TVM bundles run on CPUs alone"
        )
    if profile.kind == "local":
        return Processor()
    if profile.machine is None or profile.llvm_cpu is None:
        raise ConfigError(
            f"the profile '{profile.name}' does not say what to compile for; set machine (x86_64 "
            "or aarch64) and llvm_cpu (LLVM's name, such as cortex-a72) in it"
        )
    return Processor(profile.machine, profile.llvm_cpu)


def tvm_builder(exported: ExportedSubnet, profile: DeviceProfile) -> "ModelBuilder":
    """What writes a TVM model for a device into a bundle's folder."""
    family = exported.state.family
    build_tvm = family.build_tvm
    if build_tvm is None:
        raise ConfigError(f"'{family.name}' has no TVM export; choose --runtime onnxruntime")
    processor = processor_of(profile)
    max_positions = exported.state.graph_options(exported.workload).max_positions

    def build(folder: Path) -> "BuiltModel":
        return build_tvm(
            exported.spec,
            exported.arch,
            exported.arrays(),
            folder,
            max_positions=max_positions,
            processor=processor,
        )

    return build


@dataclass(frozen=True)
class RuntimeCandidate:
    """A runtime, and the bundle that was built for it, or why there is none."""

    runtime: Runtime
    result: ExportResult | None
    error: str | None


def select_runtime(
    context: Context,
    options: ExportOptions,
    export: Callable[[Context, ExportOptions], ExportResult],
) -> ExportResult:
    """Write a bundle for each runtime, time each on the device, and keep the fastest."""
    name = context.run.device_name(options.device)
    target = run_profile(context.files.root, name)
    if target.emulated:
        raise ConfigError(
            f"'{target.name}' is emulated, its times mean nothing; choose --runtime onnxruntime or "
            "tvm"
        )
    # the fastest is, when it is known
    options = dataclasses.replace(options, device=name, is_newest=False)
    precision_choice = None
    candidates = []
    for runtime in get_args(Runtime):
        try:
            result = export(context, dataclasses.replace(options, runtime=runtime))
            options = dataclasses.replace(options, precision=result.manifest.precision)
            precision_choice = precision_choice or result.precision_choice
            candidates.append(RuntimeCandidate(runtime, result, None))
        except (ExportError, ConfigError) as error:
            if runtime != "tvm" and isinstance(error, ConfigError):
                raise  # not about the runtime: the other one would say the same
            candidates.append(RuntimeCandidate(runtime, None, str(error)))
    kept = select_fastest(context, target, candidates)
    return dataclasses.replace(kept, precision_choice=precision_choice)


def select_fastest(
    context: Context, profile: DeviceProfile, candidates: Sequence[RuntimeCandidate]
) -> ExportResult:
    """Time bundles on a device, with their self-tests there; delete all but the fastest."""
    built = {x.runtime: x.result for x in candidates if x.result is not None}
    if not built:
        raise ExportError("; ".join(f"{x.runtime}: {x.error}" for x in candidates))
    with sole_deployment(context, profile):
        timings = _time_by_turns(context, profile, candidates)
    times_ms: dict[Runtime, float] = {}
    for timing in timings:
        if timing.measurement is None:
            continue
        # what the limit of the search is about
        figure_ms = timing.measurement.figure_ms(built[timing.runtime].manifest.statistic)
        if figure_ms is not None:
            times_ms[timing.runtime] = figure_ms
    if not times_ms:
        raise DeviceError("; ".join(f"{timing.runtime}: {timing.error}" for timing in timings))
    fastest = min(times_ms, key=lambda runtime: times_ms[runtime])
    kept = built[fastest]
    # before the others go: a kill in between must not leave half a bundle as the newest
    note_newest(context.files, kept.path)
    for runtime, result in built.items():
        if runtime != fastest:
            _remove(result.path)
    choice = RuntimeChoice(
        device=profile.name,
        kept=fastest,
        bundle=str(kept.path),
        timings=tuple(timings),
        manifest=kept.manifest,
    )
    return dataclasses.replace(kept, runtime_choice=choice)


def _remove(bundle: Path) -> None:
    """Remove a bundle; a kill leaves it whole, or what the next export of it removes."""
    with disk_errors(bundle):
        remove_scratch(bundle)
        shutil.rmtree(bundle.rename(bundle.with_name(f".{bundle.name}.slower")))


def _time_by_turns(
    context: Context, profile: DeviceProfile, candidates: Sequence[RuntimeCandidate]
) -> list[RuntimeTiming]:
    """Time each in several rounds over all: of one timing each, the warmer minute would decide."""
    from ..devices.drift import aggregate_rounds

    found: dict[Runtime, list[RuntimeTiming]] = {x.runtime: [] for x in candidates}
    for _ in range(ROUNDS):
        for candidate in candidates:
            rounds = found[candidate.runtime]
            if not rounds or rounds[-1].measurement is not None:
                rounds.append(_time(context, profile, candidate))
    timings = []
    for rounds in found.values():
        measured = [x.measurement for x in rounds if x.measurement is not None]
        # one that failed in a later round is not to be relied on
        whole = len(measured) == len(rounds)
        joined = aggregate_rounds(measured) if whole else None
        timings.append(rounds[-1].model_copy(update={"measurement": joined}))
    return timings


def _time(context: Context, profile: DeviceProfile, candidate: RuntimeCandidate) -> RuntimeTiming:
    from ..devices.deploy import DeploymentRequest, stage_and_benchmark

    measurement: Measurement | None = None
    error = candidate.error
    if candidate.result is not None:
        manifest = candidate.result.manifest
        stages = bundle_spec(context, manifest).timing_stages()
        release = DeploymentRequest(
            bundle_dir=candidate.result.path, manifest=manifest, stages=stages
        )
        try:
            with lasting_session(context, profile) as session:
                measurement = stage_and_benchmark(
                    session,
                    profile.timed_for(manifest.statistic),
                    deployment_slot(context.run),
                    release,
                    context.progress.say,
                )
        except (CommandError, DeviceTimeoutError) as failure:
            # a device that is busy or gone says nothing of a runtime
            error = str(failure)
    return RuntimeTiming(runtime=candidate.runtime, measurement=measurement, error=error)
