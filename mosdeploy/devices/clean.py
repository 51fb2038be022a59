"""Remove what mosdeploy has left on a device and nothing needs any more.

In: a session and a profile. Out: what there is, with its size. What programs use, the environment
and the current version of each project, is never listed.
"""

from collections.abc import Sequence

from pydantic import Field

from ..config.device import DeviceProfile
from ..errors import CommandError
from ..record import Record
from ..records import Leftover
from .busy import refuse_if_busy
from .channel import HASHING_TIMEOUT_S, VERSIONS_PATH, Version
from .interpreter import work_dir
from .scripts import ON_DEVICE, call_agent
from .session import Session

CLEAN_PATH = ON_DEVICE / "clean.py"
MAX_PATHS = 200  # on one command line


class _Found(Record):
    leftovers: tuple[Leftover, ...] = ()
    channels: tuple[str, ...] = ()
    error: str | None = None


class _Unused(Record):
    unused: dict[Version, int] = Field(default_factory=dict)
    error: str | None = None


class _Removed(Record):
    removed: tuple[str, ...] = ()
    error: str | None = None


def find_leftovers(
    session: Session, profile: DeviceProfile, *, with_earlier: bool = False
) -> tuple[Leftover, ...]:
    """List what can be removed from a device.

    Parameters
    ----------
    with_earlier
        The versions that a rollback goes back to as well.

    Raises
    ------
    DeviceBusyError
        If a measurement runs there.
    CommandError
        If the device fails.
    """
    refuse_if_busy(session, profile)
    folder = work_dir(session, profile)
    found = call_agent(session, profile, _Found, "list", folder, scripts=(CLEAN_PATH,))
    _raise(profile, found.error)
    leftovers = list(found.leftovers)
    # what 0.1.0 deployed stands in `bundles` itself
    for place in ("bundles", *(f"bundles/{name}" for name in found.channels)):
        words = ("unused", f"{folder}/{place}", "yes" if with_earlier else "no")
        unused = call_agent(session, profile, _Unused, *words, scripts=(VERSIONS_PATH,))
        _raise(profile, unused.error)
        leftovers += [
            Leftover(path=f"{place}/{name}", what="version", size_bytes=size)
            for name, size in unused.unused.items()
        ]
    return tuple(leftovers)


def remove_leftovers(
    session: Session, profile: DeviceProfile, leftovers: Sequence[Leftover]
) -> None:
    """Remove what `find_leftovers` has listed; what has come into use since stays.

    Raises
    ------
    CommandError
        If the device fails, or a measurement has begun.
    """
    folder = work_dir(session, profile)
    by_place: dict[str, list[str]] = {"": [x.path for x in leftovers if x.what != "version"]}
    for leftover in leftovers:
        if leftover.what == "version":
            place, _, name = leftover.path.rpartition("/")
            by_place.setdefault(place, []).append(name)
    for place, names in by_place.items():
        script = VERSIONS_PATH if place else CLEAN_PATH
        command = ("drop", f"{folder}/{place}") if place else ("remove", folder)
        for start in range(0, len(names), MAX_PATHS):
            words = (*command, *names[start : start + MAX_PATHS])
            answer = call_agent(
                session, profile, _Removed, *words, timeout_s=HASHING_TIMEOUT_S, scripts=(script,)
            )
            _raise(profile, answer.error)


def _raise(profile: DeviceProfile, error: str | None) -> None:
    if error is not None:
        raise CommandError(f"{profile.name}: {error}")
