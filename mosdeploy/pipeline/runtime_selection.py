"""Bundles for TVM: what compiles their model, and which of two bundles is faster on a device."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.device import DeviceProfile
from ..errors import ConfigError, DeviceError, ExportError
from ..records import Measurement, Runtime
from ..spaces.genes import ArchConfig
from ..spaces.spec import Workload
from .devices import lasting_session
from .run import Progress, Run
from .summaries import RuntimeChoice, RuntimeTiming

if TYPE_CHECKING:
    from ..export.bundle import Build
    from ..export.tvm import Processor
    from .export import ExportResult


def processor_of(profile: DeviceProfile) -> "Processor":
    """What to compile for, from a device profile.

    Raises
    ------
    ConfigError
        If the profile does not say it, or says a GPU.
    """
    from ..export.tvm import Processor

    if profile.provider != "CPUExecutionProvider":
        raise ConfigError(
            f"'{profile.name}' works with {profile.provider}; TVM bundles run on CPUs alone"
        )
    if profile.kind == "local":
        return Processor()
    if profile.machine is None or profile.llvm_cpu is None:
        raise ConfigError(
            f"the profile '{profile.name}' does not say what to compile for; set machine (x86_64 or aarch64) and "
            "llvm_cpu (LLVM's name, such as cortex-a72) in it"
        )
    return Processor(profile.machine, profile.llvm_cpu)


def tvm_build(
    run: Run,
    arch: ArchConfig,
    workload: Workload,
    profile: DeviceProfile,
    tune_s: float,
    progress: Progress,
) -> "Build":
    """What `export_bundle` makes a TVM model with.

    A library for another processor cannot be run here: the parity check runs the same kernels
    compiled for this one, and the library itself faces the self-test when it is deployed.

    Raises
    ------
    ConfigError
        As `processor_of`; or if tuning is asked for a device that is not this machine.
    """
    from ..export.bundle import max_positions
    from ..export.tvm import Processor, Tuning, build_tvm

    processor, config = processor_of(profile), run.config.export
    if tune_s and not processor.is_this_one:
        raise ConfigError(
            f"--tune times layers on this machine; it cannot tune for '{profile.name}'"
        )
    tuning = None
    if tune_s or (processor.is_this_one and run.workspace.tuning_dir.is_dir()):
        tuning = Tuning(run.workspace.tuning_dir, workload.source_len, workload.threads, tune_s)

    def note(seconds: float, found: str) -> None:
        progress.update("tune", round(seconds), round(tune_s), found)

    def build(weights: Mapping[str, Any], folder: Path) -> _CheckedLibrary:
        def compile_for(target: Processor, where: Path) -> None:
            where.mkdir(exist_ok=True)
            build_tvm(
                arch,
                run.config.space,
                len(weights["embed.weight"]),
                weights,
                beam=workload.beam,
                precision=workload.precision,
                max_positions=max_positions(config),
                processor=target,
                folder=where,
                tuning=tuning,
                notify=note,
            )

        compile_for(processor, folder)
        runnable = folder if processor.is_this_one else folder.with_name("for-this-machine")
        if runnable != folder:
            compile_for(Processor(), runnable)
        return _CheckedLibrary(
            run, workload, runnable, len(weights["embed.weight"]), str(processor)
        )

    return build


class _CheckedLibrary:
    """A compiled model, opened with the runtime that devices have."""

    runtime: Runtime = "tvm"

    def __init__(
        self, run: Run, workload: Workload, folder: Path, vocab_size: int, processor: str
    ) -> None:
        from ..export.onnx.decoding import BOS_ID, EOS_ID, PAD_ID
        from ..runtime.manifest import Manifest
        from ..runtime.tvm_engine import TvmEngine

        self.processor: str | None = processor
        manifest = Manifest(
            name=folder.name,
            runtime=self.runtime,
            precision=workload.precision,
            beam=workload.beam,
            length_penalty=run.config.export.length_penalty,
            pad_id=PAD_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            vocab_size=vocab_size,
            max_source_len=run.config.export.max_source_len,
            max_decode_steps=run.config.export.max_decode_steps,
            self_tests=(),
            sha256={},
        )
        self._engine = TvmEngine(folder, manifest, threads=None)

    def translate(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Translate piece ids, without end, into piece ids."""
        return self._engine.translate(sources)


@dataclass(frozen=True)
class RuntimeCandidate:
    """A runtime, and the bundle that was built for it, or why there is none."""

    runtime: Runtime
    exported: "ExportResult | None"
    error: str | None


def select_fastest(
    profile: DeviceProfile,
    candidates: Sequence[RuntimeCandidate],
    ssh_config: Path,
    progress: Progress,
) -> "tuple[ExportResult, RuntimeChoice]":
    """Time bundles on a device, with their self-tests there; delete all but the fastest.

    Raises
    ------
    DeviceError
        If no bundle could be timed; all are kept then.
    ExportError
        If none was built.
    """
    bundles = {
        candidate.runtime: candidate.exported
        for candidate in candidates
        if candidate.exported is not None
    }
    if not bundles:
        raise ExportError(
            "; ".join(f"{candidate.runtime}: {candidate.error}" for candidate in candidates)
        )
    timings = [_time(profile, candidate, ssh_config, progress) for candidate in candidates]
    times_ms = {
        timing.runtime: timing.measurement.total.median_ms
        for timing in timings
        if timing.measurement is not None and timing.measurement.total is not None
    }
    if not times_ms:
        raise DeviceError("; ".join(f"{timing.runtime}: {timing.error}" for timing in timings))
    fastest = min(times_ms, key=lambda runtime: times_ms[runtime])
    for runtime, exported in bundles.items():
        if runtime != fastest:
            shutil.rmtree(exported.path)
    kept = bundles[fastest]
    return kept, RuntimeChoice(
        device=profile.name,
        kept=fastest,
        bundle=str(kept.path),
        timings=tuple(timings),
        manifest=kept.manifest,
    )


def _time(
    profile: DeviceProfile, candidate: RuntimeCandidate, ssh_config: Path, progress: Progress
) -> RuntimeTiming:
    from ..devices.deploy import stage_and_benchmark

    measurement: Measurement | None = None
    error = candidate.error
    if candidate.exported is not None:
        try:
            with lasting_session(profile, ssh_config, progress) as session:
                measurement = stage_and_benchmark(
                    session,
                    profile,
                    candidate.exported.path,
                    candidate.exported.manifest,
                    progress.say,
                )
        except DeviceError as failure:
            error = str(failure)
    return RuntimeTiming(runtime=candidate.runtime, measurement=measurement, error=error)
