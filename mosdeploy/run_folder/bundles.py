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
    """The bundle of a run folder that was exported last; where that is not written down, or it is
    gone, by the time of its manifest.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        noted = files.bundles_dir / files.newest_bundle_path.read_text(encoding="utf-8").strip()
        if noted.parent == files.bundles_dir and (noted / MANIFEST_NAME).is_file():
            return noted
    manifests = bundle_manifests(files)
    with read_errors(files.bundles_dir):
        newest = max(manifests, key=lambda path: path.stat().st_mtime_ns, default=None)
    return newest.parent if newest else None


def require_bundle(files: Workspace, named: Path | None = None) -> Path:
    """The folder of the bundle that a command is about."""
    if named is not None:
        own = named_bundle(files, named)
        if not own.is_dir():
            there = ", ".join(path.parent.name for path in bundle_manifests(files)) or "none"
            raise StaleInputError(
                f"{named} does not exist as a folder, nor as a bundle in {files.bundles_dir}, "
                f"which holds: {there}"
            )
        return own.resolve()  # `.` has no name
    found = newest_bundle(files)
    if found is None:
        raise StaleInputError(f"no bundle in {files.bundles_dir}; run `mosdeploy export` first")
    return found


def named_bundle(files: Workspace, named: Path) -> Path:
    """A folder as it is named or, where there is none, the bundle of that name in the run folder;
    as it is named, too, where there is neither.
    """
    own = files.bundles_dir / named
    return own if not named.is_dir() and own.is_dir() else named


def bundle_manifests(files: Workspace) -> list[Path]:
    """Of the bundles in a run folder."""
    return listed(files.bundles_dir, f"[!.]*/{MANIFEST_NAME}")


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    with read_errors(folder):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def limited_bytes(folder: Path) -> int:
    """Size of a bundle's files that a limit on its size is about: the model and the tokenizer."""
    names = {*chain(*MODEL_NAMES.values()), *TOKENIZER_NAMES.values()}
    with read_errors(folder):
        return sum(path.stat().st_size for path in folder.iterdir() if path.name in names)


def bundle_spec(context: Context, manifest: BundleManifest) -> ModelSpec:
    """The model that a bundle's timings are about."""
    own = context.family.name
    if manifest.family != own:
        raise ConfigError(
            f"{manifest.name} is a bundle of '{manifest.family}', this is a run folder of '{own}': "
            "use the folder that it was exported from"
        )
    return ModelSpec(context.config.space, manifest.vocab_size, manifest.workload)
