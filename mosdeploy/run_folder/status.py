"""What a run folder holds, what is stale and why, and what to run next."""

import contextlib
from collections.abc import Iterator

from ..errors import ConfigError, MosdeployError
from ..records import Deployment
from ..storage import readable_record
from .artifact import Artifact
from .bundles import device_option
from .catalog import Catalog
from .context import Context
from .devices import check_named, resolve_profile
from .summaries import Part, RunStatus


def status(context: Context, *, read_data: bool = True) -> RunStatus:
    """Look at every artifact of a run folder; nothing is written, and no device is asked."""
    catalog = Catalog(context, read_data)
    device = list(_unknown_device(context))
    wanted = [_part(artifact) for artifact in catalog.wanted()]
    others = [_part(artifact) for artifact in catalog.others()]
    return RunStatus(
        root=str(context.files.root),
        parts=(*device, *wanted, *others),
        next_command=_next(context, [*device, *wanted]),
    )


def next_command(context: Context) -> str | None:
    """The command that `status` proposes, without reading the data again."""
    return status(context, read_data=False).next_command


def _next(context: Context, parts: list[Part]) -> str | None:
    """The command of the first artifact that is not ok; None if that cannot be made now."""
    for part in parts:
        if part.state != "ok":
            return part.command
    return _verify_command(context)


def _part(artifact: Artifact) -> Part:
    found = artifact.state()
    return Part(
        what=artifact.name,
        name=artifact.key,
        state=found.state,
        detail=found.detail,
        command=found.command,
    )


def _unknown_device(context: Context) -> Iterator[Part]:
    try:
        check_named(context)
    except ConfigError as error:
        name = context.config.device or ""
        command = "mosdeploy devices list"
        yield Part(what="device", name=name, state="missing", detail=str(error), command=command)


def _verify_command(context: Context) -> str:
    """What times the first deployment that has a limit; the page if none has."""
    files = context.files
    places = files.deployed_to()
    for device, host in places:
        found = readable_record(Deployment, files.deployment_path(device, host))
        if found is None or found.device.emulated:
            continue
        if found.limit_ms is None and found.max_memory_bytes is None:
            continue
        with contextlib.suppress(MosdeployError):  # its profile may be gone
            resolve_profile(files.root, device, host)
            if len(places) == 1 and context.config.device in (None, device):
                return "mosdeploy verify"
            return f"mosdeploy verify --device {device_option(device, host)}"
    return "mosdeploy report"
