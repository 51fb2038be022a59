"""Put a bundle on a device, prove that it works there, time it, and only then make it the current
one; or go back.

In: a bundle folder and its manifest. Out: a `Deployment`. What a bundle holds, and what runs it, is
not known here.
"""

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..config.device import DeviceProfile
from ..config.sections import DeployConfig
from ..errors import BundleError, CommandError, ConfigError
from ..record import parse
from ..records import BundleManifest, Deployment, Measurement
from ..storage import sha256_bytes, sha256_file
from .job import call_agent, run_python, work_dir
from .measure import measure_model
from .on_device.versions import RECORD_NAME, SUMS_NAME
from .probe import probe
from .session import Session, last_lines

RUNTIME_DIR = Path(__file__).parent.parent / "runtime"
RUNTIME_NAME = "mosdeploy_runtime"
MODEL_NAME = "model.onnx"
SELF_TEST_TIMEOUT_S = 600.0
HASHING_TIMEOUT_S = 600.0
VERSIONS_PATH = Path(__file__).parent / "on_device" / "versions.py"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def deploy(
    session: Session,
    profile: DeviceProfile,
    bundle_dir: Path,
    manifest: BundleManifest,
    limit_ms: float | None,
    config: DeployConfig,
    notify: Callable[[str], None] = lambda _: None,
    runtime_dir: Path = RUNTIME_DIR,
) -> Deployment:
    """Deploy a bundle.

    A version is a folder on the device, named by its content, with the bundle and the runtime;
    `versions.py` tells what else is there. Whatever stops this, `bundles/current` points to a
    version that passed; the same call goes on.

    Parameters
    ----------
    limit_ms
        The latency that was asked for; recorded, not enforced.
    notify
        Message in one line what happens.
    runtime_dir
        The package that runs bundles; it is called `mosdeploy_runtime` there.

    Raises
    ------
    BundleError
        If a file of the bundle here is not what its manifest says.
    CommandError
        If the files cannot be stored, the self-test fails or the model cannot be timed; `current`
        is then unchanged.
    """
    version, measurement = _stage_and_benchmark(
        session, profile, bundle_dir, manifest, notify, runtime_dir
    )
    remote_dir = f"{_bundles(session, profile)}/{version}"
    deployment = Deployment(
        device=profile,
        state=probe(session, profile),
        bundle=bundle_dir.name,
        bundle_sha256=sha256_file(bundle_dir / "manifest.json"),
        remote_dir=remote_dir,
        self_test_passed=True,
        measurement=measurement,
        limit_ms=limit_ms,
        deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    session.put_bytes(deployment.model_dump_json(indent=2).encode(), f"{remote_dir}/{RECORD_NAME}")
    _call(session, profile, "activate", version, str(config.keep_versions))
    return deployment


def stage_and_benchmark(
    session: Session,
    profile: DeviceProfile,
    bundle_dir: Path,
    manifest: BundleManifest,
    notify: Callable[[str], None] = lambda _: None,
    runtime_dir: Path = RUNTIME_DIR,
) -> Measurement:
    """Do all that `deploy` does, but leave `current` as it is; give what the bundle takes there.

    Raises
    ------
    BundleError, CommandError
        As `deploy`.
    """
    return _stage_and_benchmark(session, profile, bundle_dir, manifest, notify, runtime_dir)[1]


def _stage_and_benchmark(
    session: Session,
    profile: DeviceProfile,
    bundle_dir: Path,
    manifest: BundleManifest,
    notify: Callable[[str], None],
    runtime_dir: Path,
) -> tuple[str, Measurement]:
    """Store a version, test and time it; its name, and its timing."""
    files = _list_files(bundle_dir, manifest, runtime_dir)
    bundle_sha256 = sha256_file(bundle_dir / "manifest.json")
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
    _self_test(session, profile, remote_dir)
    model = f"{remote_dir}/bundle" + (f"/{MODEL_NAME}" if manifest.runtime == "onnxruntime" else "")
    workload, runtime = manifest.workload, manifest.runtime
    measurement = measure_model(session, profile, workload, manifest.vocab_size, model, runtime)
    if measurement.error:
        raise CommandError(
            f"{profile.name}: the bundle passed its self-test but could not be timed: {measurement.error}"
        )
    return version, measurement


def roll_back(session: Session, profile: DeviceProfile) -> Deployment:
    """Make the version current again that was so before; it has to pass its self-test first.

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
            f"{profile.name}: no earlier version stands on the device; `[deploy] keep_versions` says how many are kept"
        )
    remote_dir = f"{_bundles(session, profile)}/{version}"
    damaged = _call(session, profile, "deduplicate", version)["missing"]
    if damaged:
        raise CommandError(
            f"{profile.name}: {remote_dir} is damaged ({', '.join(damaged)}); `current` is unchanged"
        )
    _self_test(session, profile, remote_dir)
    record_path = f"{remote_dir}/{RECORD_NAME}"
    try:
        deployment = parse(Deployment, json.loads(session.read(record_path)), record_path)
    except (ValueError, ConfigError) as error:
        raise CommandError(
            f"{profile.name}: {record_path} is no record of a deployment: {error}"
        ) from error
    _call(session, profile, "rollback", found["current"], version)
    return deployment


def _bundles(session: Session, profile: DeviceProfile) -> str:
    return f"{work_dir(session, profile)}/bundles"


def _call(
    session: Session, profile: DeviceProfile, command: str, *arguments: str
) -> dict[str, Any]:
    """Run a command of `versions.py` on the device; what it says.

    Raises
    ------
    CommandError
        If it fails, or has an error to tell.
    """
    words = (command, _bundles(session, profile), *arguments)
    answer = call_agent(
        session, profile, *words, timeout_s=HASHING_TIMEOUT_S, scripts=(VERSIONS_PATH,)
    )
    if "error" in answer:
        raise CommandError(f"{profile.name}: {answer['error']}")
    return answer


def _list_files(
    bundle_dir: Path, manifest: BundleManifest, runtime_dir: Path
) -> dict[str, tuple[Path, str]]:
    """Path here and SHA-256 of every file, by its path in the version's folder."""
    files: dict[str, tuple[Path, str]] = {}
    for name, digest in manifest.sha256.items():
        path = bundle_dir / name
        if (
            not _FILE_NAME.fullmatch(name)
            or path.is_symlink()
            or not path.is_file()
            or sha256_file(path) != digest
        ):
            raise BundleError(
                f"{path} is missing or not what its manifest says; run `mosdeploy export` again"
            )
        files[f"bundle/{name}"] = (path, digest)
    extra = [bundle_dir / "manifest.json", *(x for x in [bundle_dir / "README.md"] if x.is_file())]
    for path in extra:
        files.setdefault(f"bundle/{path.name}", (path, sha256_file(path)))
    for path in sorted(runtime_dir.rglob("*.py")):
        files[f"{RUNTIME_NAME}/{path.relative_to(runtime_dir).as_posix()}"] = (
            path,
            sha256_file(path),
        )
    return files


def _self_test(session: Session, profile: DeviceProfile, remote_dir: str) -> None:
    """Run the bundle's self-test with the device's own Python.

    Raises
    ------
    CommandError
        With what failed.
    """
    arguments = f"-m {RUNTIME_NAME} {shlex.quote(f'{remote_dir}/bundle')} --self-test --json"
    path = f"PYTHONPATH={shlex.quote(remote_dir)} PYTHONDONTWRITEBYTECODE=1"
    result = run_python(session, profile, arguments, SELF_TEST_TIMEOUT_S, environment=path)
    try:
        answer = json.loads(result.stdout.strip().splitlines()[-1])
        passed, failures = bool(answer["passed"]), [str(x) for x in answer["failures"]]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        fix = (
            f"; run `mosdeploy devices setup {profile.name}`"
            if "No module named" in result.stderr
            else ""
        )
        raise CommandError(
            f"{profile.name}: the self-test did not run: {last_lines(result)}{fix}"
        ) from error
    if not passed or result.returncode != 0:
        said = "; ".join(failures[:5]) or last_lines(result)
        raise CommandError(
            f"{profile.name}: the self-test failed on the device, `current` is unchanged: {said}"
        )
