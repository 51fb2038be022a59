"""Where on a device a run folder deploys to."""

import re
from typing import TYPE_CHECKING

from ..config.sections import RESERVED_CHANNELS
from .run import Run

if TYPE_CHECKING:
    from ..devices.channel import Channel


def channel_of(run: Run) -> "Channel":
    """The channel that `[deploy] name` names, or else that of the folder's own name, which no other
    run folder may use.
    """
    from ..devices.channel import Channel

    name = run.config.deploy.name
    if name is not None:
        return Channel(name, run.origin, is_shared=True)
    words = re.findall("[A-Za-z0-9._]+", run.workspace.root.resolve().name)
    name = "-".join(words).lstrip("._-")[:64].rstrip("-") or "run"
    return Channel(f"{name}-run" if name in RESERVED_CHANNELS else name, run.origin)
