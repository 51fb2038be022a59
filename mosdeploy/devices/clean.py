"""Remove files of a work folder that nothing needs any more."""

import posixpath
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ..records import Leftover
from .device import Answer, Device, Script
from .job import refuse_if_busy
from .on_device.slots import VERSION
from .slot import HASHING_TIMEOUT_S

MAX_PATHS = 200  # on one command line

_VersionPath = Annotated[str, Field(pattern=rf"^[^/]+/(?:{VERSION.pattern})$")]


class _Answer(Answer):
    leftovers: tuple[Leftover, ...] = ()
    removable: tuple[_VersionPath, ...] = ()
    removed: tuple[str, ...] = ()


def find_leftovers(device: Device, *, with_earlier: bool = False) -> tuple[Leftover, ...]:
    """List what can be removed from a device."""
    refuse_if_busy(device)
    folder = device.work_dir()
    words = ("removable", f"{folder}/bundles", "yes" if with_earlier else "no")
    versions = device.call(_Answer, "slots", *words).removable
    # sized together: one file may have names in several of them
    paths = (f"bundles/{path}" for path in versions)
    return device.call(_Answer, "clean", "list", folder, *paths).leftovers


def remove_leftovers(device: Device, leftovers: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """Remove what `find_leftovers` has listed; what has come into use since stays."""
    folder = device.work_dir()
    names_by_slot: dict[str, list[str]] = {}  # under "" what is no version of a bundle
    for leftover in leftovers:
        slot, name = "", leftover.path
        if leftover.what == "version":
            slot, name = posixpath.split(leftover.path)
        names_by_slot.setdefault(slot, []).append(name)
    removed = set[str]()
    for slot, names in names_by_slot.items():
        for start in range(0, len(names), MAX_PATHS):
            some = names[start : start + MAX_PATHS]
            script: Script = "slots" if slot else "clean"
            words = ("drop", f"{folder}/{slot}") if slot else ("remove", folder)
            found = device.call(_Answer, script, *words, *some, timeout_s=HASHING_TIMEOUT_S)
            removed |= {posixpath.join(slot, name) for name in found.removed}
    return tuple(leftover for leftover in leftovers if leftover.path in removed)
