"""Whether a version that stands on a device works, and whether it keeps its limit there.

In: a session, and a version's folder there. Out: a `Measurement`, or an error that says what is
wrong. Nothing is changed on the device.
"""

import json
import shlex
from collections.abc import Callable

from ..config.device import DeviceProfile
from ..errors import CommandError, InfeasibleError
from ..records import BundleManifest, Measurement
from ..spaces.spec import TimingStage
from .interpreter import run_python
from .measure import measure_model
from .release import RUNTIME_NAME, LatencyLimit
from .rounds import aggregate_rounds
from .session import Session, last_lines
from .task import ModelTask, ignore

MODEL_NAME = "model.onnx"
SELF_TEST_TIMEOUT_S = 600.0


def self_test(session: Session, profile: DeviceProfile, remote_dir: str) -> None:
    """Run the bundle's self-test with the Python of the device.

    Raises
    ------
    CommandError
        If it fails; the message holds the first failures.
    """
    arguments = f"-m {RUNTIME_NAME} {shlex.quote(f'{remote_dir}/bundle')} --self-test --json"
    path = f"PYTHONPATH={shlex.quote(remote_dir)} PYTHONDONTWRITEBYTECODE=1"
    result = run_python(session, profile, arguments, SELF_TEST_TIMEOUT_S, environment=path)
    try:
        answer = json.loads(result.stdout.strip().splitlines()[-1])
        passed = bool(answer["passed"])
        failures = [str(failure) for failure in answer["failures"]]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        reason = last_lines(result)
        if "No module named" in result.stderr:
            reason += f"; run `mosdeploy devices setup {profile.cli_name}`"
        raise CommandError(f"{profile.name}: the self-test did not run: {reason}") from error
    if not passed or result.returncode != 0:
        reason = "; ".join(failures[:5]) or last_lines(result)
        raise CommandError(
            f"{profile.name}: the self-test failed on the device, `current` is unchanged: {reason}"
        )


def benchmark(
    session: Session,
    profile: DeviceProfile,
    remote_dir: str,
    manifest: BundleManifest,
    stages: tuple[TimingStage, ...],
    limit: LatencyLimit | None = None,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Time the model of a version that passed its self-test.

    One beyond its limit is timed twice more, and the medians of all three count: a single timing
    may have met another program.

    Raises
    ------
    CommandError
        If it cannot be timed.
    """
    model = f"{remote_dir}/bundle" + (f"/{MODEL_NAME}" if manifest.runtime == "onnxruntime" else "")
    task = ModelTask(
        remote_path=model,
        stages=stages,
        threads=manifest.workload.threads,
        runtime=manifest.runtime,
    )
    times = [_measured(session, profile, task)]
    if limit is not None and limit.is_missed(profile, times[0]):
        notify(f"{profile.name}: slower than the limit of {limit.ms:.4g} ms; timing it twice more")
        times += [_measured(session, profile, task) for _ in range(2)]
    return aggregate_rounds(times)


def _measured(session: Session, profile: DeviceProfile, task: ModelTask) -> Measurement:
    measurement = measure_model(session, profile, task)
    if measurement.error:
        raise CommandError(
            f"{profile.name}: the bundle passed its self-test but could not be timed: "
            f"{measurement.error}"
        )
    return measurement


def check_limit(
    profile: DeviceProfile, measurement: Measurement, limit: LatencyLimit | None
) -> None:
    """Refuse what takes longer than its limit.

    Raises
    ------
    InfeasibleError
        Carries how long it takes.
    """
    if limit is None or not limit.is_missed(profile, measurement):
        return
    taken_ms = measurement.figure_ms(limit.statistic)
    raise InfeasibleError(
        f"{profile.name}: the bundle takes {taken_ms:.4g} ms there ({limit.statistic}), the limit "
        f"is {limit.ms:.4g} ms; `current` is unchanged. Search for a limit a little lower, or "
        "deploy with --no-strict",
        fastest_latency_ms=taken_ms,
    )
