"""Open a session to a device, or one that reconnects after the connection was cut."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ..config.device import DeviceProfile
from ..errors import CommandTimeoutError, ConnectError, ConnectionLostError, DeviceTimeoutError
from .local import LocalSession
from .session import CommandResult, Session

T = TypeVar("T")

RECONNECT_WAITS_S = (0.5, 2.0, 5.0, 15.0, 30.0)
"""Waits between the attempts to reconnect, after which they are given up."""

MAX_STALLS = 2
"""How often a call may get no answer: once for a link that is dead, though nobody has said so."""


def open_session(profile: DeviceProfile, ssh_config_path: Path) -> Session:
    """Open a session to a device."""
    if profile.kind == "local":
        return LocalSession(profile.board, profile.command_timeout_s)
    from .ssh import login  # paramiko takes a while to load

    return login(profile, ssh_config_path)


class LastingSession(Session):
    """A session whose calls are repeated over a new connection when theirs was cut: for calls that
    may run twice.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        notify: Callable[[str], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._notify = notify
        self._pause = pause
        self._session: Session | None = connect()
        self.name = self._session.name
        self.checked_dirs = set[str]()

    def run(self, command: Sequence[str] | str, timeout_s: float | None = None) -> CommandResult:
        return self._lasting(lambda session: session.run(command, timeout_s))

    def put(self, local_path: Path, remote_path: str) -> None:
        self._lasting(lambda session: session.put(local_path, remote_path))

    def put_bytes(self, data: bytes, remote_path: str) -> None:
        self._lasting(lambda session: session.put_bytes(data, remote_path))

    def read(self, remote_path: str, offset: int = 0) -> bytes:
        return self._lasting(lambda session: session.read(remote_path, offset))

    def home(self) -> str:
        return self._lasting(lambda session: session.home())

    def close(self) -> None:
        if self._session:
            self._session.close()
            self._session = None

    def _lasting(self, call: Callable[[Session], T]) -> T:
        """Make a call; after a cut, reconnect and make it again, as often as there are waits."""
        num_stalls = 0
        for number, wait_s in enumerate((*RECONNECT_WAITS_S, None)):
            try:
                self._session = self._session or self._connect()
                return call(self._session)
            except CommandTimeoutError:
                raise
            except (ConnectError, ConnectionLostError, DeviceTimeoutError) as error:
                self.close()
                num_stalls += isinstance(error, DeviceTimeoutError)
                if wait_s is None or num_stalls == MAX_STALLS:
                    raise ConnectionLostError(
                        f"{error}; gave up after {number} reconnects. What runs on "
                        "the device goes on: run the same command again to collect it"
                    ) from error
                self._notify(f"{error}; reconnecting in {wait_s:g} s")
                self._pause(wait_s)
        raise AssertionError("unreachable: the last round returns or raises")
