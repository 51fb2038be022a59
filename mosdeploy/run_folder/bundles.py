"""The bundles of a run folder."""

import contextlib
from itertools import chain
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..folders import listed
from ..records import BundleManifest
from ..runtime.manifest import MANIFEST_NAME, MODEL_NAMES, TOKENIZER_NAMES
from ..spaces import ModelSpec
from ..storage import atomic_write, read_errors
from ..workspace import Workspace
from .context import Context


def note_newest(files: Workspace, bundle: Path) -> None:
    """Write down which bundle was exported last: a copy of the folder has other times."""
    atomic_write(files.newest_bundle_path, f"{bundle.name}\n")


def newest_bundle(files: Workspace) -> Path | None:
    """Return the bundle that was exported last, as noted, else by the time of its manifest."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        noted = files.bundles_dir / files.newest_bundle_path.read_text(encoding="utf-8").strip()
        if noted.parent == files.bundles_dir and (noted / MANIFEST_NAME).is_file():
            return noted
    with read_errors(files.bundles_dir):
        manifests = bundle_manifests(files)
        newest = max(manifests, key=lambda path: path.stat().st_mtime_ns, default=None)
    return newest.parent if newest else None


def require_bundle(files: Workspace, named: str | Path | None = None) -> Path:
    """Return the folder of a bundle: as it is named, of that name in `bundles/`, or the newest."""
    if named is not None and not str(named):
        raise ConfigError(
            "the name of the bundle is empty: name a folder, or leave it out for the newest"
        )
    if named is None:
        if (newest := newest_bundle(files)) is not None:
            return newest
        raise StaleInputError(f"no bundle in {files.bundles_dir}; run `mosdeploy export` first")
    for folder in (Path(named), files.bundles_dir / named):
        if folder.is_dir():
            return folder.resolve()  # `.` has no name
    there = ", ".join(path.parent.name for path in bundle_manifests(files)) or "none"
    raise StaleInputError(
        f"{named} does not exist as a folder, nor as a bundle in {files.bundles_dir}, which holds: "
        f"{there}"
    )


def bundle_manifests(files: Workspace) -> list[Path]:
    """List the manifests of the bundles in a run folder."""
    return listed(files.bundles_dir, f"[!.]*/{MANIFEST_NAME}")


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    with read_errors(folder):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def limited_bytes(folder: Path) -> int:
    """Return the size of the model and the tokenizer, which a limit on the size is about."""
    names = {*chain(*MODEL_NAMES.values()), *TOKENIZER_NAMES.values()}
    with read_errors(folder):
        return sum(path.stat().st_size for path in folder.iterdir() if path.name in names)


def bundle_spec(context: Context, manifest: BundleManifest) -> ModelSpec:
    """Return the model that a bundle's timings are about."""
    own = context.family.name
    if manifest.family != own:
        raise ConfigError(
            f"{manifest.name} is a bundle of '{manifest.family}', this is a run folder of '{own}': "
            "use the folder that it was exported from"
        )
    return ModelSpec(context.config.space, manifest.vocab_size, manifest.workload)
