"""Remove files of a work folder that nothing needs any more."""

from ..records import Leftover
from .device import Answer, Device
from .job import refuse_if_busy
from .slot import HASHING_TIMEOUT_S


class _Answer(Answer):
    leftovers: tuple[Leftover, ...] = ()


def find_leftovers(device: Device, *, with_earlier: bool = False) -> tuple[Leftover, ...]:
    """List what can be removed from a device."""
    refuse_if_busy(device)
    return _clean(device, "list", with_earlier)


def remove_leftovers(device: Device, *, with_earlier: bool = False) -> tuple[Leftover, ...]:
    """Remove what `find_leftovers` lists; return what is gone."""
    refuse_if_busy(device)
    return _clean(device, "remove", with_earlier)


def _clean(device: Device, command: str, with_earlier: bool) -> tuple[Leftover, ...]:
    words = (command, device.work_dir(), "yes" if with_earlier else "no")
    return device.call(_Answer, "clean", *words, timeout_s=HASHING_TIMEOUT_S).leftovers
