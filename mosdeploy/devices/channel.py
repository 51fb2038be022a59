"""Where the versions of one project stand on a device: a folder that has one `current`."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from ..config.device import DeviceProfile
from ..errors import StaleInputError
from ..records import Deployment
from .interpreter import work_dir
from .on_device.versions import VERSION
from .scripts import Answer, call_script
from .session import Session

HASHING_TIMEOUT_S = 600.0
MAX_NAME = 64  # as under [deploy]
MAX_TOLD = 8  # channels in one message

Version = Annotated[str, Field(pattern=f"^(?:{VERSION.pattern})$")]


class _Done(Answer):
    """What any command prints, besides what is its own."""

    owner: str | None = None


class _Missing(_Done):
    missing: tuple[str, ...] = ()


class _Removed(_Done):
    removed: tuple[str, ...] = ()


class _Others(_Done):
    others: dict[str, str] = Field(default_factory=dict)


class LastTwo(_Done):
    """The version in use, and the one before it."""

    current: Version | None = None
    previous: Version | None = None


A = TypeVar("A", bound=_Done)


@dataclass(frozen=True)
class Channel:
    """The folder `bundles/NAME` in the work folder of a device."""

    name: str
    owner: str
    is_shared: bool = False

    def folder(self, session: Session, profile: DeviceProfile) -> str:
        """Absolute path on the device."""
        return f"{work_dir(session, profile)}/bundles/{self.name}"

    def claim(self, session: Session, profile: DeviceProfile, version: str) -> None:
        """Make a version's folder, and keep other commands from removing it."""
        self._call_as_owner(_Done, session, profile, "claim", version)

    def release(self, session: Session, profile: DeviceProfile, version: str) -> None:
        """Say that nobody works at a version any more."""
        self._call(_Done, session, profile, "release", version)

    def missing(self, session: Session, profile: DeviceProfile, version: str) -> set[str]:
        """Files of a version that no version on the device holds undamaged."""
        return set(self._call(_Missing, session, profile, "deduplicate", version).missing)

    def activate(
        self, session: Session, profile: DeviceProfile, version: str, keep: int, record: Deployment
    ) -> None:
        """Make a version current that is whole, and remove all but the last few."""
        text = record.model_dump_json(indent=2)
        self._call(_Removed, session, profile, "activate", version, str(keep), text)

    def last_two(self, session: Session, profile: DeviceProfile) -> LastTwo:
        """The version in use, and the one before it."""
        return self._call_as_owner(LastTwo, session, profile, "previous")

    def others(self, session: Session, profile: DeviceProfile) -> str:
        """Which other channels have versions, and how to go on with one that a run folder had under
        an earlier name, in words; empty if there is none.
        """
        owners = self._call(_Others, session, profile, "others").others
        names = sorted(x for x in owners if len(x) <= MAX_NAME and not self._is_other(owners[x]))
        if not names:
            return ""
        told = ", ".join(f"'{name}'" for name in names[:MAX_TOLD])
        if len(names) > MAX_TOLD:
            told += f" and {len(names) - MAX_TOLD} more"
        own = [x for x in names if owners[x] == self.owner or self._is_there(owners[x]) is False]
        name = own[0] if len(own) == 1 else "..."
        return (
            f"; versions stand there in {told}: if this folder had another name, write name = "
            f'"{name}" under [deploy] to go on with those'
        )

    def roll_back(
        self, session: Session, profile: DeviceProfile, current: str, previous: str
    ) -> None:
        """Make the version before the current one current."""
        self._call(_Done, session, profile, "rollback", current, previous)

    def _call_as_owner(
        self,
        kind: type[A],
        session: Session,
        profile: DeviceProfile,
        command: str,
        *arguments: str,
    ) -> A:
        """Call a command that is refused to other run folders than the one that deploys there."""
        for is_shared in (self.is_shared, True):
            words = (*arguments, self.owner, "yes" if is_shared else "no")
            answer = self._call(kind, session, profile, command, *words)
            if answer.owner is None:
                return answer
            if self._is_there(answer.owner) is not False:
                break
        raise StaleInputError(
            f"{profile.board}: '{self.name}' there belongs to {answer.owner}, this is "
            f'{self.owner}; set another name = "..." under [deploy], or name = "{self.name}" to go '
            "on in its place"
        )

    def _is_other(self, owner: str) -> bool:
        """Whether an owner is another run folder on this machine."""
        return owner != self.owner and self._is_there(owner) is True

    def _is_there(self, owner: str) -> bool | None:
        """Whether a run folder of this machine is where it was; None if it was on another one."""
        host, _, path = owner.partition(":")
        if host == self.owner.partition(":")[0]:
            with contextlib.suppress(OSError, ValueError):
                return Path(path).exists()
        return None

    def _call(
        self,
        kind: type[A],
        session: Session,
        profile: DeviceProfile,
        command: str,
        *arguments: str,
    ) -> A:
        words = (command, self.folder(session, profile), *arguments)
        return call_script(session, profile, kind, "versions", *words, timeout_s=HASHING_TIMEOUT_S)
