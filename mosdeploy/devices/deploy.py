"""Put a bundle on a device, check that it works there, time it, and only then make it the current
one; or go back to the one before.

In: a release, that is a bundle folder with its manifest. Out: a `Deployment`. What a bundle holds,
and what runs it, is not known here.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ..config.device import DeviceProfile
from ..config.sections import DeployConfig
from ..errors import (
    CommandError,
    ConfigError,
    StaleInputError,
)
from ..record import Record, parse
from ..records import BundleManifest, Deployment, Measurement
from ..spaces.spec import TimingStage
from ..storage import sha256_bytes, sha256_file
from .acceptance import benchmark, check_limit, self_test
from .interpreter import work_dir
from .job import call_agent
from .on_device.versions import RECORD_NAME, SUMS_NAME
from .probe import probe
from .release import LatencyLimit, Release, release_files
from .session import Session
from .task import ignore

HASHING_TIMEOUT_S = 600.0
VERSIONS_PATH = Path(__file__).parent / "on_device" / "versions.py"
R = TypeVar("R", bound=Record)


def deploy(
    session: Session,
    profile: DeviceProfile,
    release: Release,
    config: DeployConfig,
    notify: Callable[[str], None] = ignore,
) -> Deployment:
    """Deploy a bundle.

    A version is a folder on the device, named by its content, with the bundle and the runtime;
    `versions.py` describes what else is there. Whatever stops this, `bundles/current` points to a
    version that passed its self-test, and the same call goes on where it was stopped.

    Parameters
    ----------
    config
        How many versions are kept.
    notify
        Given a message of one line at each step.

    Raises
    ------
    BundleError
        If a file of the bundle here is not what its manifest says.
    CommandError
        If the files cannot be stored, the self-test fails or the model cannot be timed; `current`
        is then unchanged.
    InfeasibleError
        If the release is strict and takes longer than its limit; `current` is then unchanged.

    Examples
    --------
    >>> release = Release(bundle_dir, manifest, spec.timing_stages())  # doctest: +SKIP
    >>> with open_session(profile, ssh_config) as session:  # doctest: +SKIP
    ...     deploy(session, profile, release, DeployConfig()).measurement.total.median_ms
    """
    version, measurement = _stage_and_benchmark(session, profile, release, notify)
    if release.strict:
        check_limit(profile, measurement, release.limit)
    remote_dir = f"{_bundles(session, profile)}/{version}"
    deployment = Deployment(
        device=profile,
        state=probe(session, profile),
        bundle=release.bundle_dir.name,
        bundle_sha256=sha256_file(release.bundle_dir / "manifest.json"),
        remote_dir=remote_dir,
        self_test_passed=True,
        measurement=measurement,
        limit_ms=release.limit.ms if release.limit else None,
        statistic=release.limit.statistic if release.limit else "median",
        deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    session.put_bytes(deployment.model_dump_json(indent=2).encode(), f"{remote_dir}/{RECORD_NAME}")
    _call(session, profile, "activate", version, str(config.keep_versions))
    return deployment


def stage_and_benchmark(
    session: Session,
    profile: DeviceProfile,
    release: Release,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Store a bundle on a device, test and time it as `deploy` does, but leave `current` unchanged.

    Raises
    ------
    BundleError, CommandError
        As `deploy`.
    """
    return _stage_and_benchmark(session, profile, release, notify)[1]


def _stage_and_benchmark(
    session: Session, profile: DeviceProfile, release: Release, notify: Callable[[str], None]
) -> tuple[str, Measurement]:
    """Store a version, test and time it; returns its name and its timing."""
    manifest = release.manifest
    files = release_files(release)
    bundle_sha256 = sha256_file(release.bundle_dir / "manifest.json")
    sums = "".join(f"{digest}  {name}\n" for name, (_, digest) in files.items())
    version = f"{bundle_sha256[:16]}-{sha256_bytes(sums.encode())[:8]}"
    remote_dir = f"{_bundles(session, profile)}/{version}"
    session.put_bytes(sums.encode(), f"{remote_dir}/{SUMS_NAME}")
    missing = set(_call(session, profile, "deduplicate", version)["missing"])
    to_send = {name: path for name, (path, _) in files.items() if name in missing}
    if to_send:
        size_mb = sum(path.stat().st_size for path in to_send.values()) / 1e6
        notify(f"{profile.name}: sending {len(to_send)} of {len(files)} files, {size_mb:.1f} MB")
    for name, path in to_send.items():
        session.put(path, f"{remote_dir}/{name}")
    notify(f"{profile.name}: self-test, then timing")
    self_test(session, profile, remote_dir)
    timing = benchmark(
        session, profile, remote_dir, manifest, release.stages, release.limit, notify
    )
    return version, timing


def roll_back(session: Session, profile: DeviceProfile) -> Deployment:
    """Make the version current again that was current before; it has to pass its self-test first.

    Returns
    -------
    Deployment
        As it was recorded when that version was deployed.

    Raises
    ------
    CommandError
        If no earlier version stands there, or it is damaged or fails; `current` is then unchanged.
    """
    found = _call(session, profile, "previous")
    version = found["previous"]
    if version is None:
        raise CommandError(
            f"{profile.name}: no earlier version stands on the device; `[deploy] keep_versions` "
            "says how many are kept"
        )
    deployment = _tested(session, profile, version)
    _call(session, profile, "rollback", found["current"], version)
    return deployment


def time_current(
    session: Session,
    profile: DeviceProfile,
    deployment: Deployment,
    stages: Callable[[BundleManifest], tuple[TimingStage, ...]],
    limit: LatencyLimit | None = None,
    notify: Callable[[str], None] = ignore,
) -> Measurement:
    """Test and time the version that is current on a device; nothing is changed there.

    Parameters
    ----------
    deployment
        What should be current there.
    stages
        Its bundle's manifest to what is timed, `total` first.
    limit
        Beyond it, it is timed as often as by `deploy`.
    notify
        As for `deploy`.

    Raises
    ------
    StaleInputError
        If something else is current.
    CommandError
        If no version stands there, or it is damaged, fails or cannot be timed.
    """
    version = _call(session, profile, "previous")["current"]
    if version is None:
        raise CommandError(f"{profile.name}: nothing is deployed there; run `mosdeploy deploy`")
    found = _tested(session, profile, version)
    if found.bundle_sha256 != deployment.bundle_sha256:
        raise StaleInputError(
            f"{profile.name} runs {found.bundle} now, not {deployment.bundle}, which was deployed "
            "from here; run `mosdeploy deploy` again"
        )
    remote_dir = f"{_bundles(session, profile)}/{version}"
    manifest = _read(session, profile, BundleManifest, f"{remote_dir}/bundle/manifest.json")
    return benchmark(session, profile, remote_dir, manifest, stages(manifest), limit, notify)


def _tested(session: Session, profile: DeviceProfile, version: str) -> Deployment:
    """Record of a version that stands on a device whole and passes its self-test now."""
    remote_dir = f"{_bundles(session, profile)}/{version}"
    damaged = _call(session, profile, "deduplicate", version)["missing"]
    if damaged:
        raise CommandError(
            f"{profile.name}: {remote_dir} is damaged ({', '.join(damaged)}); `current` is "
            "unchanged; deploy that bundle again"
        )
    self_test(session, profile, remote_dir)
    return _read(session, profile, Deployment, f"{remote_dir}/{RECORD_NAME}")


def _read(session: Session, profile: DeviceProfile, kind: type[R], path: str) -> R:
    """A record that stands on a device."""
    try:
        return parse(kind, json.loads(session.read(path)), path)
    except (ValueError, ConfigError) as error:
        raise CommandError(f"{profile.name}: {path} is no {kind.__name__}: {error}") from error


def _bundles(session: Session, profile: DeviceProfile) -> str:
    return f"{work_dir(session, profile)}/bundles"


def _call(
    session: Session, profile: DeviceProfile, command: str, *arguments: str
) -> dict[str, Any]:
    """Run a command of `versions.py` on the device; returns the object that it prints.

    Raises
    ------
    CommandError
        If it fails, or prints an error.
    """
    words = (command, _bundles(session, profile), *arguments)
    answer = call_agent(
        session, profile, *words, timeout_s=HASHING_TIMEOUT_S, scripts=(VERSIONS_PATH,)
    )
    if "error" in answer:
        raise CommandError(f"{profile.name}: {answer['error']}")
    return answer
