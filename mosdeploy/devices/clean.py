"""Remove what mosdeploy has left on a device and nothing needs any more."""

import os
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ..config.device import DeviceProfile
from ..records import Leftover
from .busy import refuse_if_busy
from .channel import HASHING_TIMEOUT_S
from .interpreter import work_dir
from .on_device.versions import VERSION
from .scripts import Answer, Script, call_script
from .session import Session

MAX_PATHS = 200  # on one command line

_VersionPath = Annotated[str, Field(pattern=rf"^(?:[^/]+/)?(?:{VERSION.pattern})$")]


class _Found(Answer):
    leftovers: tuple[Leftover, ...] = ()


class _Unused(Answer):
    unused: tuple[_VersionPath, ...] = ()


class _Removed(Answer):
    removed: tuple[str, ...] = ()


def find_leftovers(
    session: Session, profile: DeviceProfile, *, with_earlier: bool = False
) -> tuple[Leftover, ...]:
    """List what can be removed from a device."""
    refuse_if_busy(session, profile)
    folder = work_dir(session, profile)
    words = ("unused", f"{folder}/bundles", "yes" if with_earlier else "no")
    unused = call_script(session, profile, _Unused, "versions", *words).unused
    # sized together: one file may have names in several of them
    paths = (f"bundles/{path}" for path in unused)
    found = call_script(session, profile, _Found, "clean", "list", folder, *paths)
    return found.leftovers


def remove_leftovers(
    session: Session, profile: DeviceProfile, leftovers: Sequence[Leftover]
) -> tuple[Leftover, ...]:
    """Remove what `find_leftovers` has listed; what has come into use since stays."""
    folder = work_dir(session, profile)
    by_place: dict[str, list[str]] = {}
    for leftover in leftovers:
        is_version = leftover.what == "version"
        place, name = os.path.split(leftover.path) if is_version else ("", leftover.path)
        by_place.setdefault(place, []).append(name)
    removed = set[str]()
    for place, names in by_place.items():
        script: Script = "versions" if place else "clean"
        command = ("drop", f"{folder}/{place}") if place else ("remove", folder)
        for start in range(0, len(names), MAX_PATHS):
            words = (*command, *names[start : start + MAX_PATHS])
            answer = call_script(
                session, profile, _Removed, script, *words, timeout_s=HASHING_TIMEOUT_S
            )
            removed |= {f"{place}/{name}" if place else name for name in answer.removed}
    return tuple(leftover for leftover in leftovers if leftover.path in removed)
