"""The bundles of a run folder."""

import contextlib
from pathlib import Path

from ..errors import StaleInputError
from ..folders import listed
from ..records import BundleManifest
from ..spaces import ModelSpec
from ..storage import atomic_write, read_errors
from ..workspace import Workspace
from .context import Context


def note_newest(files: Workspace, bundle: Path) -> None:
    """Write down which bundle was exported last: a copy of the folder has other times."""
    atomic_write(files.newest_bundle_path, f"{bundle.name}\n")


def newest_bundle(files: Workspace) -> Path | None:
    """The bundle of a run folder that was exported last; where that is not written down, or it is
    gone, by the time of its manifest.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        noted = files.bundles_dir / files.newest_bundle_path.read_text(encoding="utf-8").strip()
        if noted.parent == files.bundles_dir and (noted / "manifest.json").is_file():
            return noted
    manifests = listed(files.bundles_dir, "[!.]*/manifest.json")
    with read_errors(files.bundles_dir):
        newest = max(manifests, key=lambda path: path.stat().st_mtime_ns, default=None)
    return newest.parent if newest else None


def require_bundle(files: Workspace) -> Path:
    """The same, where there must be one.

    Raises
    ------
    StaleInputError
        If there is none.
    """
    found = newest_bundle(files)
    if found is None:
        raise StaleInputError(f"no bundle in {files.bundles_dir}; run `mosdeploy export` first")
    return found


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    with read_errors(folder):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bundle_spec(context: Context, manifest: BundleManifest) -> ModelSpec:
    """The model that a bundle's timings are about."""
    return ModelSpec(context.config.space, manifest.vocab_size, manifest.workload)
