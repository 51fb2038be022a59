"""Put a bundle on a device, check that it works there, time it, and only then make it the current
one.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TypeVar

from ..config.device import DeviceProfile
from ..config.sections import DeployConfig
from ..errors import (
    CommandError,
    CommandTimeoutError,
    DeviceBusyError,
    InfeasibleError,
    StaleInputError,
)
from ..printable import byte_size
from ..record import Record
from ..records import BundleManifest, Deployment, Measurement, Runtime
from ..spaces.spec import TimingStage
from ..storage import sha256_bytes
from .acceptance import benchmark, missed_limits, model_task, self_test
from .answers import parse_answer
from .busy import refuse_if_busy
from .channel import Channel
from .measure import free_device
from .on_device.versions import SUMS_NAME
from .probe import describe
from .release import MANIFEST_PATH, LatencyLimit, Release, release_files
from .session import Session
from .task import ignore

M = TypeVar("M", bound=Record)


def deploy(
    session: Session,
    profile: DeviceProfile,
    channel: Channel,
    release: Release,
    config: DeployConfig,
    notify: Callable[[str], None] = ignore,
) -> Deployment:
    """Deploy a bundle."""
    version, bundle_sha256, measurement = _staged(session, profile, channel, release, notify)
    missed = missed_limits(profile, measurement, release.limit, release.max_memory_bytes)
    statistic = release.limit.statistic if release.limit else "median"
    if missed and release.strict:
        channel.release(session, profile, version)
        raise InfeasibleError(
            f"{profile.board}: {missed}; `current` is unchanged",
            fastest_latency_ms=measurement.figure_ms(statistic),
        )
    if missed:
        notify(f"{profile.board}: {missed}")
    if release.max_memory_bytes is not None and measurement.memory_bytes is None:
        notify(
            f"{profile.board} does not tell how much memory a process takes: the limit on it is "
            "not verified"
        )
    deployment = Deployment(
        device=profile,
        state=describe(session, profile),
        bundle=release.bundle_dir.name,
        bundle_sha256=bundle_sha256,
        remote_dir=f"{channel.folder(session, profile)}/{version}",
        self_test_passed=True,
        measurement=measurement,
        limit_ms=release.limit.ms if release.limit else None,
        statistic=statistic,
        max_memory_bytes=release.max_memory_bytes,
        deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    channel.activate(session, profile, version, config.keep_versions, deployment)
    return deployment


def stage_and_benchmark(
    session: Session,
    profile: DeviceProfile,
    channel: Channel,
    release: Release,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Store a bundle on a device, test and time it as `deploy` does, but leave `current`
    unchanged.
    """
    version, _, measurement = _staged(session, profile, channel, release, notify)
    channel.release(session, profile, version)
    return measurement


def _staged(
    session: Session,
    profile: DeviceProfile,
    channel: Channel,
    release: Release,
    notify: Callable[[str], None],
) -> tuple[str, str, Measurement]:
    """Store a version, test and time it: its name, its manifest's hash and its timing."""
    manifest = release.manifest
    files = release_files(release)
    bundle_sha256 = files[MANIFEST_PATH][1]
    sums = "".join(f"{digest}  {name}\n" for name, (_, digest) in files.items())
    version = f"{bundle_sha256[:16]}-{sha256_bytes(sums.encode())[:8]}"
    remote_dir = f"{channel.folder(session, profile)}/{version}"
    task = model_task(remote_dir, manifest, release.stages, channel.owner)
    free_device(session, profile, task)
    channel.claim(session, profile, version)
    try:
        session.put_bytes(sums.encode(), f"{remote_dir}/{SUMS_NAME}")
        missing = channel.missing(session, profile, version)
        to_send = {name: path for name, (path, _) in files.items() if name in missing}
        if to_send:
            size = byte_size(sum(path.stat().st_size for path in to_send.values()))
            notify(f"{profile.board}: sending {len(to_send)} of {len(files)} files, {size}")
        for name, path in to_send.items():
            session.put(path, f"{remote_dir}/{name}")
        notify(f"{profile.board}: self-test, then timing")
        # the upload may have taken minutes
        refuse_if_busy(session, profile)
        self_test(session, profile, remote_dir, manifest.runtime)
        timing = benchmark(session, profile, task, release.limit, notify)
    except (CommandError, CommandTimeoutError, DeviceBusyError):
        channel.release(session, profile, version)
        raise
    return version, bundle_sha256, timing


def time_current(
    session: Session,
    profile: DeviceProfile,
    channel: Channel,
    deployment: Deployment,
    stages: Callable[[BundleManifest], tuple[TimingStage, ...]],
    limit: LatencyLimit | None = None,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Test and time the version that is current on a device; nothing is changed there."""
    version = channel.last_two(session, profile).current
    if version is None:
        raise CommandError(
            f"{profile.board}: nothing is deployed to '{channel.name}' there"
            f"{_renamed(deployment, channel)}; run `mosdeploy deploy`"
        )
    remote_dir = f"{channel.folder(session, profile)}/{version}"
    manifest, manifest_sha256 = version_manifest(BundleManifest, session, profile, remote_dir)
    if manifest_sha256 != deployment.bundle_sha256:
        raise StaleInputError(
            f"{profile.board} runs {manifest.name} now, not {deployment.bundle}, which was "
            "deployed from here; run `mosdeploy deploy` again"
        )
    task = model_task(remote_dir, manifest, stages(manifest), channel.owner)
    free_device(session, profile, task)
    check_version(session, profile, channel, version, manifest.runtime)
    return benchmark(session, profile, task, limit, notify)


def is_of_0_1_0(deployment: Deployment) -> bool:
    """Whether mosdeploy 0.1.0 made a deployment: it put all versions into `bundles` itself, which
    is no channel.
    """
    return PurePosixPath(deployment.remote_dir).parents[1].name != "bundles"


def _renamed(deployment: Deployment, channel: Channel) -> str:
    """Where a deployment stands that is not in its run folder's channel of today; empty if it is
    there.
    """
    if is_of_0_1_0(deployment):
        return ", what was deployed from here stands where mosdeploy 0.1.0 put it"
    name = deployment.channel
    if name == channel.name:
        return ""
    return (
        f", what was deployed from here is in '{name}'; was the folder renamed? Write name = "
        f'"{name}" under [deploy] to go on with that one'
    )


def check_version(
    session: Session, profile: DeviceProfile, channel: Channel, version: str, runtime: Runtime
) -> None:
    """Make sure that a version stands on a device whole and passes its self-test now."""
    remote_dir = f"{channel.folder(session, profile)}/{version}"
    damaged = channel.missing(session, profile, version)
    if damaged:
        raise CommandError(
            f"{profile.board}: {remote_dir} is damaged ({', '.join(sorted(damaged))}); `current` "
            "is unchanged; deploy that bundle again"
        )
    self_test(session, profile, remote_dir, runtime)


def version_manifest(
    kind: type[M], session: Session, profile: DeviceProfile, remote_dir: str
) -> tuple[M, str]:
    """The manifest of a version that stands on a device, or a part of it, and its SHA-256."""
    path = f"{remote_dir}/{MANIFEST_PATH}"
    text = read_file(session, profile, path)
    try:
        return parse_answer(kind, text, f"{profile.board}: {path}"), sha256_bytes(text)
    except CommandError as error:
        raise CommandError(
            f"{error}; `current` is unchanged. A newer mosdeploy may have made that bundle: update "
            "mosdeploy here, or switch to a bundle of yours with `mosdeploy deploy --bundle NAME`"
        ) from error


def read_file(session: Session, profile: DeviceProfile, path: str) -> bytes:
    try:
        return session.read(path)
    except FileNotFoundError as error:
        told = f"{profile.board}: {path} is missing; deploy that bundle again"
        raise CommandError(told) from error
