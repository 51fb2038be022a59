"""Checks of a bundle on a device: it passes its self-test, and keeps its limits."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ConfigDict

from ..config.device import DeviceProfile
from ..config.units import Statistic
from ..errors import CommandError
from ..printable import byte_size, figure_note, latency, told_apart
from ..record import Record
from ..records import Measurement, Runtime
from .device import Device
from .drift import aggregate_rounds
from .measure import ModelTask, ignore, measure_model
from .session import last_lines, parse_answer

SELF_TEST_TIMEOUT_S = 600.0
RUNTIME_NAME = "mosdeploy_runtime"
CPU_PROVIDER = "CPUExecutionProvider"
"""The provider that the runtime takes unless it is told."""


@dataclass(frozen=True)
class LatencyLimit:
    """The most that a model may take on a device, by one figure of its times."""

    ms: float
    statistic: Statistic = "median"

    def is_missed(self, profile: DeviceProfile, measurement: Measurement) -> bool:
        """Tell whether a model takes longer; times of an emulated device mean nothing."""
        taken_ms = measurement.figure_ms(self.statistic)
        return taken_ms is not None and not profile.emulated and taken_ms > self.ms


class _SelfTest(Record):
    model_config = ConfigDict(extra="ignore")  # the runtime may be that of another version

    passed: bool
    failures: tuple[str, ...]


def self_test(device: Device, remote_dir: str, runtime: Runtime) -> None:
    """Run the self-test of a version, on the provider that it is timed on."""
    arguments = f"-m {RUNTIME_NAME} {shlex.quote(f'{remote_dir}/bundle')} --self-test --json"
    if runtime == "onnxruntime" and device.profile.provider != CPU_PROVIDER:
        arguments += f" --provider {shlex.quote(device.profile.provider)}"
    path = f"PYTHONPATH={shlex.quote(remote_dir)} PYTHONDONTWRITEBYTECODE=1"
    result = device.run_python(arguments, SELF_TEST_TIMEOUT_S, environment=path)
    try:
        last_line = (result.stdout.strip().splitlines() or [""])[-1]
        answer = parse_answer(_SelfTest, last_line, f"{device.board}: the self-test")
    except CommandError as error:
        reason = last_lines(result)
        if "No module named" in result.stderr:
            reason += f"; run `mosdeploy devices setup {device.profile.cli_name}`"
        raise CommandError(f"{device.board}: the self-test did not run: {reason}") from error
    if not answer.passed or result.returncode != 0:
        reason = "; ".join(answer.failures[:5])[:1000] or last_lines(result)
        raise CommandError(
            f"{device.board}: the self-test failed on the device, `current` is unchanged: {reason}"
        )


def benchmark(
    device: Device,
    task: ModelTask,
    limit: LatencyLimit | None = None,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Time the model of a version that passed its self-test; what seems too slow, three times."""
    times = [_measured(device, task)]
    if limit is not None and limit.is_missed(device.profile, times[0]):
        notify(
            f"{device.board}: slower than the limit of {latency(limit.ms)}"
            f"{figure_note(limit.statistic)}; timing it twice more"
        )
        times += [_measured(device, task) for _ in range(2)]
    return aggregate_rounds(times)


def _measured(device: Device, task: ModelTask) -> Measurement:
    measurement = measure_model(device, task)
    if measurement.error:
        raise CommandError(
            f"{device.board}: the bundle passed its self-test but could not be timed: "
            f"{measurement.error}"
        )
    return measurement


def missed_limits(
    profile: DeviceProfile,
    measurement: Measurement,
    limit: LatencyLimit | None,
    max_memory_bytes: int | None,
) -> str:
    """Describe the limits that a bundle misses; empty if none, or where the device is emulated."""
    missed = []
    if limit is not None and limit.is_missed(profile, measurement):
        taken_ms = measurement.figure_ms(limit.statistic) or 0.0
        taken, allowed = told_apart(latency, taken_ms, limit.ms)
        missed.append(f"the bundle takes {taken} there ({limit.statistic}), the limit is {allowed}")
    taken_bytes = measurement.memory_bytes or 0
    most = max_memory_bytes
    if most is not None and taken_bytes > most and not profile.emulated:
        taken, allowed = told_apart(byte_size, taken_bytes, most)
        missed.append(f"the bundle takes {taken} of memory there, the limit is {allowed}")
    return "; ".join(missed)
