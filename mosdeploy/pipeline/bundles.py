"""The bundles of a run folder."""

from pathlib import Path

from ..errors import StaleInputError
from ..records import BundleManifest
from ..spaces import ModelSpec
from ..workspace import Workspace
from .context import Context


def newest_bundle(files: Workspace) -> Path | None:
    """The bundle of a run folder that was exported last."""
    manifests = files.bundles_dir.glob("[!.]*/manifest.json")
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
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bundle_spec(context: Context, manifest: BundleManifest) -> ModelSpec:
    """The model that a bundle's timings are about."""
    return ModelSpec(context.config.space, manifest.vocab_size, manifest.workload)
