"""Verbs about devices: list, show, check, set up; and the sessions that other verbs open."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.device import DeviceProfile, list_profiles, load_profile, with_host
from .run import Progress
from .summaries import DeviceCheck, DeviceList, DeviceSetup

if TYPE_CHECKING:
    from ..devices.session import Session


def list_devices(root: Path) -> DeviceList:
    """All known profiles: of the run folder, of the user, shipped."""
    return DeviceList(devices=tuple(list_profiles(root)))


def show_device(root: Path, name: str) -> DeviceProfile:
    """One profile.

    Raises
    ------
    ConfigError
        If no profile has this name.
    """
    return load_profile(name, root)


def connector(profile: DeviceProfile, ssh_config: Path) -> "Callable[[], Session]":
    """What opens a session to a device, as often as it takes."""
    from ..devices.connect import open_session

    return partial(open_session, profile, ssh_config.expanduser())


def lasting_session(profile: DeviceProfile, ssh_config: Path, progress: Progress) -> "Session":
    """A session to a device that comes back after the link was cut."""
    from ..devices.connect import LastingSession

    return LastingSession(connector(profile, ssh_config), progress.say)


def check_device(root: Path, name: str, ssh_config: Path, host: str | None = None) -> DeviceCheck:
    """Look at a device and at what it lacks.

    Parameters
    ----------
    host
        Alias of a board of this kind; None for the one that the profile names.

    Raises
    ------
    ConfigError
        As `with_host`, or if no profile has this name.
    DeviceError
        If it cannot be reached.
    """
    from ..devices.probe import check, probe

    profile = board(root, name, host)
    with connector(profile, ssh_config)() as session:
        state = probe(session, profile)
    return DeviceCheck(device=name, state=state, problems=check(state, profile))


def setup_device(
    root: Path, name: str, ssh_config: Path, progress: Progress, host: str | None = None
) -> DeviceSetup:
    """Make a virtual environment with the runtime on a device.

    Parameters
    ----------
    host
        As `check_device`.

    Raises
    ------
    ConfigError
        As `check_device`.
    DeviceError
        If the device cannot be reached, or a step fails there.
    """
    from ..devices.setup import setup

    profile = board(root, name, host)
    with connector(profile, ssh_config)() as session:
        return DeviceSetup(device=name, python=setup(session, profile, progress.say))


def board(root: Path, name: str, host: str | None) -> DeviceProfile:
    """The profile of a device, or of another board of its kind; errors as `check_device`."""
    profile = load_profile(name, root)
    return profile if host is None else with_host(profile, host)
