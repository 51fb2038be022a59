"""The bundles of a run folder."""

import contextlib
import logging
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, StaleInputError
from ..records import BundleManifest, Deployment
from ..runtime.manifest import MANIFEST_NAME, MODEL_NAMES, TOKENIZER_NAMES
from ..spaces import ModelSpec
from ..storage import atomic_write, listed, read_errors, read_record
from ..workspace import Workspace
from .context import Context
from .devices import other_host, split_board
from .run import Run

if TYPE_CHECKING:
    from ..devices.deploy import DeploymentSlot


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


_log = logging.getLogger(__name__)


def deployment_slot(run: Run) -> "DeploymentSlot":
    """Return the folder on a device that `[deploy] name` names, else that of the run folder."""
    from ..devices.deploy import DeploymentSlot

    name = run.config.deploy.name
    if name is not None:
        return DeploymentSlot(name, run.origin, is_shared=True)
    words = re.findall("[A-Za-z0-9._]+", run.workspace.root.resolve().name)
    name = "-".join(words).lstrip("._-")[:64].rstrip("-") or "run"
    return DeploymentSlot(name, run.origin)


def device_option(device: str, host: str | None) -> str:
    """Name a board as options do: `rpi`, or `rpi@pi2` for one of several."""
    return device if host is None else f"{device}@{host}"


def deployed_to(context: Context, board: str | None) -> tuple[str, str | None]:
    """Return device and host of the deployment that an option means."""
    device, host = split_board(board)
    device = device or context.config.device
    if device is not None and host is not None:
        return device, other_host(context.files.root, device, host)
    found = [
        (name, at)
        for name, at in context.files.deployed_to()
        if device in (None, name) and host in (None, at)
    ]
    if len(found) == 1:
        return found[0]
    if device is not None and (not found or (device, None) in found):
        return device, None
    if not found:
        raise StaleInputError(
            "nothing was deployed from this folder; run `mosdeploy deploy`, or say --device"
        )
    names = ", ".join(device_option(*place) for place in found)
    raise ConfigError(f"several devices were deployed to ({names}): say which one with --device")


def readable_deployments(files: Workspace) -> Iterator[Deployment]:
    """Yield each deployment whose record can be read; warn of the others."""
    for path in listed(files.deployments_dir, "*.json"):
        try:
            yield read_record(Deployment, path, "mosdeploy deploy")
        except StaleInputError as error:
            _log.warning("left out: %s", error)
