"""Whether a version that stands on a device works, and whether it keeps its limit there."""

import shlex
from collections.abc import Callable

from pydantic import ConfigDict

from ..config.device import DeviceProfile
from ..errors import CommandError
from ..printable import byte_size, figure_note, latency, told_apart
from ..record import Record
from ..records import BundleManifest, Measurement, Runtime
from ..runtime.manifest import ONNX_MODEL_NAME
from ..spaces.spec import TimingStage
from .answers import parse_answer
from .interpreter import run_python
from .measure import measure_model
from .release import RUNTIME_NAME, LatencyLimit
from .rounds import aggregate_rounds
from .session import Session, last_lines
from .task import ModelTask, ignore

SELF_TEST_TIMEOUT_S = 600.0
CPU_PROVIDER = "CPUExecutionProvider"
"""What the runtime takes unless it is told."""


class _Answer(Record):
    model_config = ConfigDict(extra="ignore")  # the runtime may be that of an older version

    passed: bool
    failures: tuple[str, ...]


def self_test(session: Session, profile: DeviceProfile, remote_dir: str, runtime: Runtime) -> None:
    """Run the self-test of a version, on the provider that it is timed on."""
    arguments = f"-m {RUNTIME_NAME} {shlex.quote(f'{remote_dir}/bundle')} --self-test --json"
    if runtime == "onnxruntime" and profile.provider != CPU_PROVIDER:
        arguments += f" --provider {shlex.quote(profile.provider)}"
    path = f"PYTHONPATH={shlex.quote(remote_dir)} PYTHONDONTWRITEBYTECODE=1"
    result = run_python(session, profile, arguments, SELF_TEST_TIMEOUT_S, environment=path)
    try:
        last_line = (result.stdout.strip().splitlines() or [""])[-1]
        answer = parse_answer(_Answer, last_line, f"{profile.board}: the self-test")
    except CommandError as error:
        reason = last_lines(result)
        if "No module named" in result.stderr:
            reason += f"; run `mosdeploy devices setup {profile.cli_name}`"
        raise CommandError(f"{profile.board}: the self-test did not run: {reason}") from error
    if not answer.passed or result.returncode != 0:
        reason = "; ".join(answer.failures[:5])[:1000] or last_lines(result)
        raise CommandError(
            f"{profile.board}: the self-test failed on the device, `current` is unchanged: {reason}"
        )


def model_task(
    remote_dir: str, manifest: BundleManifest, stages: tuple[TimingStage, ...], owner: str
) -> ModelTask:
    """What is timed of a version: a graph, or for TVM the whole bundle."""
    path = f"{remote_dir}/bundle"
    if manifest.runtime == "onnxruntime":
        path += f"/{ONNX_MODEL_NAME}"
    return ModelTask(
        remote_path=path,
        stages=stages,
        threads=manifest.workload.threads,
        owner=owner,
        runtime=manifest.runtime,
    )


def benchmark(
    session: Session,
    profile: DeviceProfile,
    task: ModelTask,
    limit: LatencyLimit | None = None,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Time the model of a version that passed its self-test."""
    times = [_measured(session, profile, task)]
    if limit is not None and limit.is_missed(profile, times[0]):
        notify(
            f"{profile.board}: slower than the limit of {latency(limit.ms)}"
            f"{figure_note(limit.statistic)}; timing it twice more"
        )
        times += [_measured(session, profile, task) for _ in range(2)]
    return aggregate_rounds(times)


def _measured(session: Session, profile: DeviceProfile, task: ModelTask) -> Measurement:
    measurement = measure_model(session, profile, task)
    if measurement.error:
        raise CommandError(
            f"{profile.board}: the bundle passed its self-test but could not be timed: "
            f"{measurement.error}"
        )
    return measurement


def missed_limits(
    profile: DeviceProfile,
    measurement: Measurement,
    limit: LatencyLimit | None,
    max_memory_bytes: int | None,
) -> str:
    """What a bundle takes beyond its limits, in words; empty if it keeps them, or the device is
    emulated.
    """
    taken_bytes = measurement.memory_bytes or 0
    missed = []
    if limit is not None and limit.is_missed(profile, measurement):
        taken_ms = measurement.figure_ms(limit.statistic) or 0.0
        taken, allowed = told_apart(latency, taken_ms, limit.ms)
        missed.append(f"the bundle takes {taken} there ({limit.statistic}), the limit is {allowed}")
    most = max_memory_bytes
    if most is not None and taken_bytes > most and not profile.emulated:
        taken, allowed = told_apart(byte_size, taken_bytes, most)
        missed.append(f"the bundle takes {taken} of memory there, the limit is {allowed}")
    return "; ".join(missed)
