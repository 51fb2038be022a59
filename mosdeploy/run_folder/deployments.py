"""Deployments of a run folder: where they stand, and which of them a command means."""

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ConfigError, StaleInputError
from ..folders import listed
from ..records import Deployment
from ..storage import read_record
from ..workspace import Workspace
from .context import Context
from .devices import other_host, split_board
from .run import Run

if TYPE_CHECKING:
    from ..devices.slot import DeploymentSlot

_log = logging.getLogger(__name__)


def deployment_slot(run: Run) -> "DeploymentSlot":
    """Return the folder on a device that `[deploy] name` names, else that of the run folder."""
    from ..devices.slot import DeploymentSlot

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
