"""The verbs `devices`: list, show, check, set up; and the sessions that other verbs open."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import load_run_config
from ..config.device import DeviceProfile, list_profiles, load_profile, with_host
from ..errors import ConfigError, ConnectionLostError, DeviceBusyError, PredictorError
from ..storage import locked
from ..workspace import Workspace
from .context import SSH_CONFIG, Context, Progress, SilentProgress
from .summaries import DeviceCheck, DeviceCleaning, DeviceList

if TYPE_CHECKING:
    from ..devices.device import Device
    from ..devices.session import Session


def list_devices(root: Path) -> DeviceList:
    """All known profiles: of the run folder, of the user, shipped."""
    return DeviceList(devices=tuple(list_profiles(root)))


def check_device(profile: DeviceProfile, ssh_config: Path = SSH_CONFIG) -> DeviceCheck:
    """Look at a device and at what it lacks."""
    from ..devices.job import refuse_if_busy
    from ..devices.probe import check, probe

    with device_at(profile, ssh_config) as device:
        refuse_if_busy(device)
        state = probe(device)
    return DeviceCheck(device=profile.name, state=state, problems=check(state, profile))


def setup_device(
    profile: DeviceProfile, ssh_config: Path = SSH_CONFIG, progress: Progress | None = None
) -> None:
    """Make a virtual environment with the runtime on a device, if its Python has none."""
    from ..devices.setup import setup

    progress = progress or SilentProgress()
    with device_at(profile, ssh_config) as device:
        try:
            progress.say(f"{device.board}: the runtime is in {setup(device, progress.say)}")
        except ConnectionLostError as error:
            raise ConnectionLostError(
                f"{error}; run the same command again: wheels that arrived are kept"
            ) from error


def clean_device(
    profile: DeviceProfile,
    ssh_config: Path = SSH_CONFIG,
    *,
    remove: bool = False,
    with_earlier: bool = False,
) -> DeviceCleaning:
    """List what nothing needs any more on a device, and remove it if that is asked for."""
    from ..devices.setup import clean

    with device_at(profile, ssh_config) as device:
        found = clean(device, with_earlier=with_earlier)
        removed = clean(device, remove=True, with_earlier=with_earlier) if remove else found
    gone = {leftover.path for leftover in removed}
    return DeviceCleaning(
        device=profile.name,
        leftovers=removed,
        is_removed=remove,
        kept=tuple(leftover for leftover in found if leftover.path not in gone),
    )


def check_named(context: Context, option: str | None = None) -> None:
    """Refuse a device that has no profile before long work, though nothing is asked of it yet."""
    root = context.files.root
    if option is not None:
        load_profile(option, root)
    if context.config.device is not None:
        try:
            load_profile(context.config.device, root)
        except ConfigError as error:
            raise ConfigError(f"device in {context.files.config_path.name}: {error}") from error


def run_profile(root: Path, name: str) -> DeviceProfile:
    """The profile of a device, with what models of the run folder's family need there on top."""
    profile = load_profile(name, root)
    path = Workspace(root).config_path
    if not path.exists():
        return profile
    new = [x for x in load_run_config(path).packages if x not in profile.requirements]
    return profile.model_copy(update={"requirements": (*profile.requirements, *new)})


def split_board(name: str | None) -> tuple[str | None, str | None]:
    """Split `rpi@pi2` into a device and the host of another board of it."""
    device, _, host = (name or "").partition("@")
    return device or None, host or None


def resolve_profile(root: Path, name: str | None, host: str | None) -> DeviceProfile:
    """The profile of a device, or of another board of its kind."""
    profile = run_profile(root, name or "local")
    return profile if host is None else with_host(profile, host)


def other_host(root: Path, name: str, host: str | None) -> str | None:
    """A host, unless it is the one that the profile names: that board has one record, however it is
    named.
    """
    profile = run_profile(root, name)
    return None if profile.kind == "ssh" and host == profile.host_alias else host


def connector(profile: DeviceProfile, ssh_config: Path) -> "Callable[[], Session]":
    """What opens a session to a device, as often as it takes."""
    from ..devices.connect import open_session

    return partial(open_session, profile, ssh_config)


def check_real(context: Context, device: str) -> None:
    """Refuse a device whose times mean nothing."""
    if run_profile(context.files.root, device).emulated:
        raise PredictorError(
            f"{device} is an emulated device: its times mean nothing, so no finalist is measured "
            "there; search for a real device, or use --no-verify"
        )


def check_reachable(context: Context, name: str) -> None:
    """Refuse, before long work, a device that cannot be reached."""
    with device_at(run_profile(context.files.root, name), context.ssh_config):
        pass


def device_at(profile: DeviceProfile, ssh_config: Path) -> "Device":
    """Connect to a device."""
    from ..devices.device import Device

    return Device(connector(profile, ssh_config)(), profile)


def lasting_device(context: Context, profile: DeviceProfile) -> "Device":
    """Connect to a device, and again whenever the link was cut."""
    from ..devices.connect import LastingSession
    from ..devices.device import Device

    connect = connector(profile, context.ssh_config)
    return Device(LastingSession(connect, context.progress.say), profile)


@contextlib.contextmanager
def sole_deployment(context: Context, profile: DeviceProfile) -> Iterator[None]:
    """Keep other commands of this run folder from a board for as long as what is deployed there is
    tested and timed: each would end what another times there, as if a killed one had left it.
    """
    busy = DeviceBusyError(
        f"{profile.board}: another command of {context.files.root.resolve()} tests and times a "
        "bundle there (`deploy`, `verify` or `export --runtime auto`); wait for it, or stop it"
    )
    with locked(context.files.deployment_path(profile.host_alias), busy):
        yield
