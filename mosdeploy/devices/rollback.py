"""Go back to the version of a bundle that stood on a device before."""

import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import ConfigDict

from ..config.device import DeviceProfile
from ..errors import CommandError
from ..record import Record
from ..records import Deployment, Measurement, Runtime
from .answers import parse_answer
from .busy import refuse_if_busy
from .channel import Channel, LastTwo
from .deploy import check_version, read_file, version_manifest
from .on_device.versions import RECORD_NAME
from .probe import describe
from .session import Session
from .task import ignore

_log = logging.getLogger(__name__)


class _Installed(Record):
    """What is needed of a version's manifest to go back to it, whatever mosdeploy wrote that."""

    model_config = ConfigDict(extra="ignore")

    name: str
    runtime: Runtime = "onnxruntime"


def roll_back(
    session: Session,
    profile: DeviceProfile,
    channel: Channel,
    begun: LastTwo | None = None,
    note: Callable[[LastTwo], None] = ignore,
) -> Deployment:
    """Make the version current again that was current before; it has to pass its self-test
    first.
    """
    refuse_if_busy(session, profile)
    found = channel.last_two(session, profile)
    if begun is not None and found.current is not None and found.current == begun.previous:
        return _deployment(session, profile, channel, found.current)
    if found.current is None or found.previous is None:
        raise CommandError(
            f"{profile.board}: no earlier version of '{channel.name}' stands on the device; "
            f"`[deploy] keep_versions` says how many are kept{_others(session, profile, channel)}"
        )
    deployment = _deployment(session, profile, channel, found.previous)
    note(found)
    channel.roll_back(session, profile, found.current, found.previous)
    return deployment


def _deployment(
    session: Session, profile: DeviceProfile, channel: Channel, version: str
) -> Deployment:
    """The record of a version that stands on a device whole and passes its self-test now."""
    remote_dir = f"{channel.folder(session, profile)}/{version}"
    installed, bundle_sha256 = version_manifest(_Installed, session, profile, remote_dir)
    check_version(session, profile, channel, version, installed.runtime)
    path = f"{remote_dir}/{RECORD_NAME}"
    try:
        text = read_file(session, profile, path)
        return parse_answer(Deployment, text, f"{profile.board}: {path}")
    except CommandError as error:
        _log.warning(
            "%s; that version is whole and passed its self-test, so it becomes current without its "
            "timing: `mosdeploy verify --max-latency ...` times it. A newer mosdeploy may have "
            "written the record: update mosdeploy here",
            error,
        )
        return Deployment(
            device=profile,
            state=describe(session, profile),
            bundle=installed.name,
            bundle_sha256=bundle_sha256,
            remote_dir=remote_dir,
            self_test_passed=True,
            measurement=Measurement(error="its record could not be read"),
            limit_ms=None,
            deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def _others(session: Session, profile: DeviceProfile, channel: Channel) -> str:
    """Which other channels have versions; nothing where the device does not tell."""
    with contextlib.suppress(CommandError):
        return channel.others(session, profile)
    return ""
