"""A deployment slot: the folder of one project on a device, with the versions of its bundles."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..errors import StaleInputError
from ..record import Record
from ..records import Deployment
from .device import Answer, Device
from .on_device.slots import VERSION

HASHING_TIMEOUT_S = 600.0

Version = Annotated[str, Field(pattern=f"^(?:{VERSION.pattern})$")]


class CurrentAndPrevious(Record):
    """The version in use, and the one before it."""

    current: Version | None = None
    previous: Version | None = None


class _SlotAnswer(Answer, CurrentAndPrevious):
    owner: str | None = None
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentSlot:
    """The folder `bundles/NAME` in the work folder of a device."""

    name: str
    owner: str
    is_shared: bool = False

    def folder(self, device: Device) -> str:
        """Absolute path on the device."""
        return f"{device.work_dir()}/bundles/{self.name}"

    def claim(self, device: Device, version: str) -> None:
        """Make a version's folder, and keep other commands from removing it."""
        self._call_as_owner(device, "claim", version)

    def release(self, device: Device, version: str) -> None:
        """Say that nobody works at a version any more."""
        self._call(device, "release", version)

    def missing(self, device: Device, version: str) -> set[str]:
        """Files of a version that no version on the device holds undamaged."""
        return set(self._call(device, "deduplicate", version).missing)

    def activate(self, device: Device, version: str, keep: int, record: Deployment) -> None:
        """Make a whole version current, and remove all but the last few."""
        text = record.model_dump_json(indent=2)
        self._call(device, "activate", version, str(keep), text)

    def current_and_previous(self, device: Device) -> CurrentAndPrevious:
        """Names of the version in use and of the one before it."""
        found = self._call_as_owner(device, "previous")
        return CurrentAndPrevious(current=found.current, previous=found.previous)

    def roll_back(self, device: Device, current: str, previous: str) -> None:
        """Make the version before the current one current."""
        self._call(device, "rollback", current, previous)

    def _call_as_owner(self, device: Device, command: str, *arguments: str) -> _SlotAnswer:
        """Call a command that is refused to other run folders than the owner of the slot."""
        for is_shared in (self.is_shared, True):
            words = (*arguments, self.owner, "yes" if is_shared else "no")
            answer = self._call(device, command, *words)
            if answer.owner is None:
                return answer
            if not self._is_gone(answer.owner):
                break
        raise StaleInputError(
            f"{device.board}: '{self.name}' there belongs to {answer.owner}, this is "
            f'{self.owner}; set another name = "..." under [deploy], or name = "{self.name}" to go '
            "on in its place"
        )

    def _is_gone(self, owner: str) -> bool:
        """Tell whether an owner is a run folder of this machine that is no longer there."""
        host, _, path = owner.partition(":")
        if host == self.owner.partition(":")[0]:
            with contextlib.suppress(OSError, ValueError):
                return not Path(path).exists()
        return False

    def _call(self, device: Device, command: str, *arguments: str) -> _SlotAnswer:
        words = (command, self.folder(device), *arguments)
        return device.call(_SlotAnswer, "slots", *words, timeout_s=HASHING_TIMEOUT_S)
