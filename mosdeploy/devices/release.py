"""A bundle as it goes to a device: its files, the runtime that runs them, and how it is timed."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..config.device import DeviceProfile
from ..config.units import Statistic
from ..errors import BundleError
from ..records import BundleManifest, Measurement
from ..runtime.manifest import MANIFEST_NAME
from ..spaces.spec import TimingStage
from ..storage import sha256_file

RUNTIME_DIR = Path(__file__).parent.parent / "runtime"
RUNTIME_NAME = "mosdeploy_runtime"
MANIFEST_PATH = f"bundle/{MANIFEST_NAME}"
"""In the folder of a version."""
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class LatencyLimit:
    """What a model may take on a device, and which figure of its times that is about."""

    ms: float
    statistic: Statistic = "median"

    def is_missed(self, profile: DeviceProfile, measurement: Measurement) -> bool:
        """Whether a model takes longer; times of an emulated device mean nothing."""
        taken_ms = measurement.figure_ms(self.statistic)
        return taken_ms is not None and not profile.emulated and taken_ms > self.ms


@dataclass(frozen=True)
class Release:
    """A bundle and how it is timed."""

    bundle_dir: Path
    manifest: BundleManifest
    stages: tuple[TimingStage, ...]
    limit: LatencyLimit | None = None
    max_memory_bytes: int | None = None
    strict: bool = True
    runtime_dir: Path = RUNTIME_DIR


def release_files(release: Release) -> dict[str, tuple[Path, str]]:
    """Path here and SHA-256 of every file, by its path in the version's folder."""
    files: dict[str, tuple[Path, str]] = {}
    for name, digest in release.manifest.sha256.items():
        path = release.bundle_dir / name
        is_safe = bool(_FILE_NAME.fullmatch(name)) and path.is_file() and not path.is_symlink()
        if not is_safe or sha256_file(path) != digest:
            raise BundleError(
                f"{path} is missing or not what its manifest says; run `mosdeploy export` again"
            )
        files[f"bundle/{name}"] = (path, digest)
    for path in (release.bundle_dir / MANIFEST_NAME, release.bundle_dir / "README.md"):
        if path.name == MANIFEST_NAME or path.is_file():
            files.setdefault(f"bundle/{path.name}", (path, sha256_file(path)))
    for path in sorted(release.runtime_dir.rglob("*.py")):
        name = path.relative_to(release.runtime_dir).as_posix()
        files[f"{RUNTIME_NAME}/{name}"] = (path, sha256_file(path))
    return files
