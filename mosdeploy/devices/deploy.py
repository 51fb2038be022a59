"""Put a bundle into a slot of a device, check and time it there, and only then make it current;
go back to the one before.
"""

import contextlib
import logging
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field

from ..config.device import DeviceProfile
from ..config.sections import DeployConfig
from ..config.units import Statistic
from ..errors import (
    BundleError,
    CommandError,
    CommandTimeoutError,
    DeviceBusyError,
    InfeasibleError,
    StaleInputError,
)
from ..printable import byte_size, figure_note, latency, told_apart
from ..record import Record
from ..records import BundleManifest, Deployment, Measurement, Runtime
from ..runtime.execution import CPU_PROVIDER
from ..runtime.manifest import MANIFEST_NAME, ONNX_MODEL_NAME
from ..spaces.spec import TimingStage
from ..storage import sha256_bytes, sha256_file
from .device import Answer, Device
from .drift import aggregate_rounds
from .job import refuse_if_busy
from .measure import MeasurementTask, free_device, ignore, measure_model, model_task
from .on_device.slots import RECORD_NAME, SUMS_NAME, VERSION
from .probe import describe
from .session import last_lines, parse_answer

RUNTIME_DIR = Path(__file__).parent.parent / "runtime"
MANIFEST_PATH = f"bundle/{MANIFEST_NAME}"
"""In the folder of a version."""
RUNTIME_NAME = "mosdeploy_runtime"
SELF_TEST_TIMEOUT_S = 600.0
_RENAMED = "If this folder had another name, write that one as `name` under [deploy]"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_log = logging.getLogger(__name__)
M = TypeVar("M", bound=Record)


HASHING_TIMEOUT_S = 600.0

Version = Annotated[str, Field(pattern=f"^(?:{VERSION.pattern})$")]


class CurrentAndPrevious(Record):
    """The version in use, and the one before it."""

    current: Version | None = None
    previous: Version | None = None


class _SlotAnswer(Answer, CurrentAndPrevious):
    owner: str | None = None
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentSlot:
    """The folder `bundles/NAME` in the work folder of a device."""

    name: str
    owner: str
    is_shared: bool = False

    def folder(self, device: Device) -> str:
        """Absolute path on the device."""
        return f"{device.work_dir()}/bundles/{self.name}"

    def claim(self, device: Device, version: str) -> None:
        """Make a version's folder, and keep other commands from removing it."""
        self._call_as_owner(device, "claim", version)

    def release(self, device: Device, version: str) -> None:
        """Say that nobody works at a version any more."""
        self._call(device, "release", version)

    def missing(self, device: Device, version: str) -> set[str]:
        """Files of a version that no version on the device holds undamaged."""
        return set(self._call(device, "deduplicate", version).missing)

    def activate(self, device: Device, version: str, keep: int, record: Deployment) -> None:
        """Make a whole version current, and remove all but the last few."""
        text = record.model_dump_json(indent=2)
        self._call(device, "activate", version, str(keep), text)

    def current_and_previous(self, device: Device) -> CurrentAndPrevious:
        """Names of the version in use and of the one before it."""
        found = self._call_as_owner(device, "previous")
        return CurrentAndPrevious(current=found.current, previous=found.previous)

    def roll_back(self, device: Device, current: str, previous: str) -> None:
        """Make the version before the current one current."""
        self._call(device, "rollback", current, previous)

    def _call_as_owner(self, device: Device, command: str, *arguments: str) -> _SlotAnswer:
        """Call a command that is refused to other run folders than the owner of the slot."""
        for is_shared in (self.is_shared, True):
            words = (*arguments, self.owner, "yes" if is_shared else "no")
            answer = self._call(device, command, *words)
            if answer.owner is None:
                return answer
            if not self._is_gone(answer.owner):
                break
        raise StaleInputError(
            f"{device.board}: '{self.name}' there belongs to {answer.owner}, this is "
            f'{self.owner}; set another name = "..." under [deploy], or name = "{self.name}" to go '
            "on in its place"
        )

    def _is_gone(self, owner: str) -> bool:
        """Tell whether an owner is a run folder of this machine that is no longer there."""
        host, _, path = owner.partition(":")
        if host == self.owner.partition(":")[0]:
            with contextlib.suppress(OSError, ValueError):
                return not Path(path).exists()
        return False

    def _call(self, device: Device, command: str, *arguments: str) -> _SlotAnswer:
        words = (command, self.folder(device), *arguments)
        return device.call(_SlotAnswer, "slots", *words, timeout_s=HASHING_TIMEOUT_S)


@dataclass(frozen=True)
class LatencyLimit:
    """The most that a model may take on a device, by one figure of its times."""

    ms: float
    statistic: Statistic = "median"

    def is_missed(self, profile: DeviceProfile, measurement: Measurement) -> bool:
        """Tell whether a model takes longer; times of an emulated device mean nothing."""
        taken_ms = measurement.figure_ms(self.statistic)
        return taken_ms is not None and not profile.emulated and taken_ms > self.ms


@dataclass(frozen=True)
class DeploymentRequest:
    """A bundle, how it is timed, and the limits that it is held to."""

    bundle_dir: Path
    manifest: BundleManifest
    stages: tuple[TimingStage, ...]
    limit: LatencyLimit | None = None
    max_memory_bytes: int | None = None
    strict: bool = True
    runtime_dir: Path = RUNTIME_DIR

    def files(self) -> dict[str, tuple[Path, str]]:
        """Path here and SHA-256 of every file, by its path in the version's folder."""
        found: dict[str, tuple[Path, str]] = {}
        for name, digest in self.manifest.sha256.items():
            path = self.bundle_dir / name
            is_safe = bool(_FILE_NAME.fullmatch(name)) and path.is_file() and not path.is_symlink()
            if not is_safe or sha256_file(path) != digest:
                raise BundleError(
                    f"{path} is missing or not what its manifest says; run `mosdeploy export` again"
                )
            found[f"bundle/{name}"] = (path, digest)
        for path in (self.bundle_dir / MANIFEST_NAME, self.bundle_dir / "README.md"):
            if path.name == MANIFEST_NAME or path.is_file():
                found.setdefault(f"bundle/{path.name}", (path, sha256_file(path)))
        for path in sorted(self.runtime_dir.rglob("*.py")):
            name = path.relative_to(self.runtime_dir).as_posix()
            found[f"{RUNTIME_NAME}/{name}"] = (path, sha256_file(path))
        return found


def deploy(
    device: Device,
    slot: DeploymentSlot,
    request: DeploymentRequest,
    config: DeployConfig,
    notify: Callable[[str], None] = ignore,
) -> Deployment:
    """Deploy a bundle."""
    staged = stage(device, slot, request, notify)
    limit = request.limit
    statistic = limit.statistic if limit else "median"
    with _released_on_error(device, slot, staged.version):
        measurement = benchmark(device, staged.task, limit, notify)
        missed = missed_limits(device.profile, measurement, limit, request.max_memory_bytes)
        if missed and request.strict:
            raise InfeasibleError(
                f"{device.board}: {missed}; `current` is unchanged",
                fastest_latency_ms=measurement.figure_ms(statistic),
            )
    if missed:
        notify(f"{device.board}: {missed}")
    if request.max_memory_bytes is not None and measurement.memory_bytes is None:
        notify(
            f"{device.board} does not tell how much memory a process takes: the limit on it is "
            "not verified"
        )
    deployment = Deployment(
        device=device.profile,
        state=describe(device),
        bundle=request.bundle_dir.name,
        bundle_sha256=staged.bundle_sha256,
        remote_dir=f"{slot.folder(device)}/{staged.version}",
        self_test_passed=True,
        measurement=measurement,
        limit_ms=limit.ms if limit else None,
        statistic=statistic,
        max_memory_bytes=request.max_memory_bytes,
        deployed_at=_now(),
    )
    slot.activate(device, staged.version, config.keep_versions, deployment)
    return deployment


@dataclass(frozen=True)
class StagedBundle:
    """A version on a device, claimed, that passed its self-test there."""

    version: str
    bundle_sha256: str
    model_path: str
    task: MeasurementTask


def stage(
    device: Device,
    slot: DeploymentSlot,
    request: DeploymentRequest,
    notify: Callable[[str], None] = ignore,
) -> StagedBundle:
    """Store a bundle on a device and run its self-test there; `current` is unchanged."""
    files = request.files()
    bundle_sha256 = files[MANIFEST_PATH][1]
    sums = "".join(f"{digest}  {name}\n" for name, (_, digest) in files.items())
    version = f"{bundle_sha256[:16]}-{sha256_bytes(sums.encode())[:8]}"
    remote_dir = f"{slot.folder(device)}/{version}"
    model_path = _model_path(remote_dir, request.manifest)
    threads = request.manifest.workload.threads
    task = model_task(model_path, request.stages, threads, slot.owner)
    free_device(device, task)
    slot.claim(device, version)
    with _released_on_error(device, slot, version):
        device.session.put_bytes(sums.encode(), f"{remote_dir}/{SUMS_NAME}")
        missing = slot.missing(device, version)
        to_send = {name: path for name, (path, _) in files.items() if name in missing}
        if to_send:
            size = byte_size(sum(path.stat().st_size for path in to_send.values()))
            notify(f"{device.board}: sending {len(to_send)} of {len(files)} files, {size}")
        for name, path in to_send.items():
            device.session.put(path, f"{remote_dir}/{name}")
        notify(f"{device.board}: self-test, then timing")
        # the upload may have taken minutes
        refuse_if_busy(device)
        self_test(device, remote_dir, request.manifest.runtime)
    return StagedBundle(version, bundle_sha256, model_path, task)


@contextlib.contextmanager
def _released_on_error(device: Device, slot: DeploymentSlot, version: str) -> Iterator[None]:
    """Take the claim off a version after an error of the device or of the bundle."""
    try:
        yield
    except (CommandError, CommandTimeoutError, DeviceBusyError, InfeasibleError):
        slot.release(device, version)
        raise


def time_current(
    device: Device,
    slot: DeploymentSlot,
    deployment: Deployment,
    stages: Callable[[BundleManifest], tuple[TimingStage, ...]],
    limit: LatencyLimit | None = None,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Test and time the version that is current on a device; nothing is changed there."""
    version = slot.current_and_previous(device).current
    if version is None:
        raise CommandError(
            f"{device.board}: nothing is deployed to '{slot.name}' there; run `mosdeploy deploy`. "
            f"{_RENAMED}"
        )
    remote_dir = f"{slot.folder(device)}/{version}"
    manifest, manifest_sha256 = _read(BundleManifest, device, f"{remote_dir}/{MANIFEST_PATH}")
    if manifest_sha256 != deployment.bundle_sha256:
        raise StaleInputError(
            f"{device.board} runs {manifest.name} now, not {deployment.bundle}, which was "
            "deployed from here; run `mosdeploy deploy` again"
        )
    model_path = _model_path(remote_dir, manifest)
    task = model_task(model_path, stages(manifest), manifest.workload.threads, slot.owner)
    free_device(device, task)
    _check_version(device, slot, version, manifest.runtime)
    return benchmark(device, task, limit, notify)


class _Installed(Record):
    """The part of a version's manifest that a rollback needs, whichever mosdeploy wrote it."""

    model_config = ConfigDict(extra="ignore")

    name: str
    runtime: Runtime = "onnxruntime"


def roll_back(
    device: Device,
    slot: DeploymentSlot,
    begun: CurrentAndPrevious | None = None,
    note: Callable[[CurrentAndPrevious], None] = ignore,
) -> Deployment:
    """Make the version before the current one current again; it has to pass its self-test first.

    `note` keeps what is found before the switch, and `begun` is that note of a rollback that was
    killed: it does not go back a second time.
    """
    refuse_if_busy(device)
    found = slot.current_and_previous(device)
    if begun is not None and found.current is not None and found.current == begun.previous:
        return _deployment(device, slot, found.current)
    if found.current is None or found.previous is None:
        raise CommandError(
            f"{device.board}: no earlier version of '{slot.name}' stands on the device; "
            f"`[deploy] keep_versions` says how many are kept. {_RENAMED}"
        )
    deployment = _deployment(device, slot, found.previous)
    note(found)
    slot.roll_back(device, found.current, found.previous)
    return deployment


def _deployment(device: Device, slot: DeploymentSlot, version: str) -> Deployment:
    """The record of a version that stands on a device whole and passes its self-test now."""
    remote_dir = f"{slot.folder(device)}/{version}"
    installed, bundle_sha256 = _read(_Installed, device, f"{remote_dir}/{MANIFEST_PATH}")
    _check_version(device, slot, version, installed.runtime)
    try:
        return _read(Deployment, device, f"{remote_dir}/{RECORD_NAME}")[0]
    except CommandError as error:
        _log.warning(
            "%s. That version is whole and passed its self-test, so it becomes current without its "
            "timing: `mosdeploy verify --max-latency ...` times it",
            error,
        )
        return Deployment(
            device=device.profile,
            state=describe(device),
            bundle=installed.name,
            bundle_sha256=bundle_sha256,
            remote_dir=remote_dir,
            self_test_passed=True,
            measurement=Measurement(error="its record could not be read"),
            limit_ms=None,
            deployed_at=_now(),
        )


def _model_path(remote_dir: str, manifest: BundleManifest) -> str:
    """What is timed of a version: its graph, or for TVM the whole bundle."""
    path = f"{remote_dir}/bundle"
    return path if manifest.runtime == "tvm" else f"{path}/{ONNX_MODEL_NAME}"


def _check_version(device: Device, slot: DeploymentSlot, version: str, runtime: Runtime) -> None:
    """Make sure that a version stands on a device whole and passes its self-test now."""
    remote_dir = f"{slot.folder(device)}/{version}"
    damaged = slot.missing(device, version)
    if damaged:
        raise CommandError(
            f"{device.board}: {remote_dir} is damaged ({', '.join(sorted(damaged))}); `current` "
            "is unchanged; deploy that bundle again"
        )
    self_test(device, remote_dir, runtime)


def _read(kind: type[M], device: Device, path: str) -> tuple[M, str]:
    """Read a record of a version that stands on a device, or a part of it, and its SHA-256."""
    try:
        text = device.session.read(path)
        return parse_answer(kind, text, f"{device.board}: {path}"), sha256_bytes(text)
    except FileNotFoundError as error:
        raise CommandError(
            f"{device.board}: {path} is missing; deploy that bundle again"
        ) from error
    except CommandError as error:
        raise CommandError(
            f"{error}; `current` is unchanged. A newer mosdeploy may have made that bundle: update "
            "mosdeploy here, or switch to a bundle of yours with `mosdeploy deploy --bundle NAME`"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
            reason += f"; run `mosdeploy devices check {device.profile.cli_name} --setup`"
        raise CommandError(f"{device.board}: the self-test did not run: {reason}") from error
    if not answer.passed or result.returncode != 0:
        reason = "; ".join(answer.failures[:5])[:1000] or last_lines(result)
        raise CommandError(
            f"{device.board}: the self-test failed on the device, `current` is unchanged: {reason}"
        )


def benchmark(
    device: Device,
    task: MeasurementTask,
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


def _measured(device: Device, task: MeasurementTask) -> Measurement:
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
