"""Put a bundle on a device, prove that it works there, time it, and only then make it the current one.

In: a bundle folder and its manifest. Out: a `Deployment`. What a bundle holds, and what runs it, is not known here.
"""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

from ..config import DeviceProfile
from ..errors import CommandError, StaleInputError
from ..records import BundleManifest, Deployment
from ..workspace import sha256_bytes, sha256_file
from .job import run_python, work_dir
from .measure import measure_model
from .probe import probe
from .session import Session, check_run, last_lines

RUNTIME_DIR = Path(__file__).parent.parent / "runtime"
RUNTIME_NAME = "mosdeploy_runtime"
MODEL_NAME = "model.onnx"
SELF_TEST_TIMEOUT_S = 600.0


def deploy(
    session: Session,
    profile: DeviceProfile,
    bundle_dir: Path,
    manifest: BundleManifest,
    limit_ms: float | None,
    runtime_dir: Path = RUNTIME_DIR,
) -> Deployment:
    """Deploy a bundle.

    On the device each file lies once in `blobs/SHA256` of the work folder; a version, `bundles/SHA256-RUNTIME` with the
    bundle and the runtime, is links to them; `bundles/current` points to the version that passed last.

    Parameters
    ----------
    limit_ms
        The latency that was asked for; recorded, not enforced.
    runtime_dir
        The package that runs bundles; it is called `mosdeploy_runtime` there.

    Raises
    ------
    StaleInputError
        If a file of the bundle here is not what its manifest says.
    CommandError
        If the files cannot be stored, the self-test fails or the model cannot be timed; `current` is then unchanged.
    """
    files = _list_files(bundle_dir, manifest, runtime_dir)
    bundle_sha256 = sha256_file(bundle_dir / "manifest.json")
    runtime = "".join(digest for name, (_, digest) in files.items() if name.startswith(f"{RUNTIME_NAME}/"))
    version = f"{bundle_sha256[:16]}-{sha256_bytes(runtime.encode())[:8]}"
    bundles = f"{work_dir(session, profile)}/bundles"
    remote_dir = f"{bundles}/{version}"
    _store(session, files, f"{work_dir(session, profile)}/blobs", remote_dir)
    _self_test(session, profile, remote_dir)
    model = f"{remote_dir}/bundle/{MODEL_NAME}"
    measurement = measure_model(session, profile, manifest.workload, manifest.vocab_size, model)
    if measurement.error:
        raise CommandError(
            f"{profile.name}: the bundle passed its self-test but could not be timed: {measurement.error}"
        )
    link = shlex.quote(f"{bundles}/current")
    replace = "import os, sys; os.replace(*sys.argv[1:])"
    script = f"ln -sfn {version} {link}.new"
    check_run(session, script, "linking the new version")
    swapped = run_python(session, profile, f"-c {shlex.quote(replace)} {link}.new {link}")
    if swapped.returncode != 0:
        raise CommandError(f"{profile.name}: could not switch {link}: {last_lines(swapped)}")
    return Deployment(
        device=profile,
        state=probe(session, profile),
        bundle=bundle_dir.name,
        bundle_sha256=bundle_sha256,
        remote_dir=remote_dir,
        self_test_passed=True,
        measurement=measurement,
        limit_ms=limit_ms,
        deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _list_files(bundle_dir: Path, manifest: BundleManifest, runtime_dir: Path) -> dict[str, tuple[Path, str]]:
    """Path here and SHA-256 of every file, by its path in the version's folder."""
    files: dict[str, tuple[Path, str]] = {}
    for name, digest in manifest.sha256.items():
        path = bundle_dir / name
        if not path.resolve().is_relative_to(bundle_dir.resolve()) or not path.is_file() or sha256_file(path) != digest:
            raise StaleInputError(f"{path} is missing or not what its manifest says; run `mosdeploy export` again")
        files[f"bundle/{name}"] = (path, digest)
    extra = [bundle_dir / "manifest.json", *(x for x in [bundle_dir / "README.md"] if x.is_file())]
    for path in extra:
        files.setdefault(f"bundle/{path.name}", (path, sha256_file(path)))
    for path in sorted(runtime_dir.rglob("*.py")):
        files[f"{RUNTIME_NAME}/{path.relative_to(runtime_dir).as_posix()}"] = (path, sha256_file(path))
    return files


def _store(session: Session, files: dict[str, tuple[Path, str]], blobs: str, remote_dir: str) -> None:
    """Upload what the device does not hold yet, link the version together and check every hash there."""
    digests = {digest for _, digest in files.values()}
    held = session.run(f"cd {shlex.quote(blobs)} && sha256sum {' '.join(sorted(digests))}").stdout
    good = {line.split()[0] for line in held.splitlines() if len(set(line.split())) == 1}
    for path, digest in files.values():
        if digest not in good:
            session.put(path, f"{blobs}/{digest}")
            good.add(digest)
    script = ["set -e"]
    for name, (_, digest) in files.items():
        target, blob = shlex.quote(f"{remote_dir}/{name}"), shlex.quote(f"{blobs}/{digest}")
        folder = shlex.quote(f"{remote_dir}/{name}".rpartition("/")[0])
        script.append(f"mkdir -p {folder}; ln -f {blob} {target} || cp {blob} {target}")
        script.append(
            f"echo '{digest}  '{target} | sha256sum -c --status || {{ echo {target} is damaged >&2; exit 1; }}"
        )
    check_run(session, "\n".join(script), "storing the bundle")


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
        fix = f"; run `mosdeploy devices setup {profile.name}`" if "No module named" in result.stderr else ""
        raise CommandError(f"{profile.name}: the self-test did not run: {last_lines(result)}{fix}") from error
    if not passed or result.returncode != 0:
        said = "; ".join(failures[:5]) or last_lines(result)
        raise CommandError(f"{profile.name}: the self-test failed on the device, `current` is unchanged: {said}")
