"""Sessions: on this machine, by SSH, and one that reconnects after its connection was cut."""

import contextlib
import errno
import os
import platform
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ..config.device import DeviceProfile
from ..errors import (
    CommandError,
    CommandTimeoutError,
    ConnectError,
    ConnectionLostError,
    DeviceTimeoutError,
    MosdeployError,
)
from ..storage import atomic_copy, atomic_write, sha256_bytes
from .session import CommandResult, Session, read_bounded

T = TypeVar("T")

RECONNECT_WAITS_S = (0.5, 2.0, 5.0, 15.0, 30.0)
"""Waits between the attempts to reconnect, after which they are given up."""

MAX_STALLS = 2
"""How often a call may get no answer: once for a link that is dead, though nobody has said so."""

ID_PATHS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


class LocalSession(Session):
    """A `Session` on the machine that mosdeploy runs on."""

    def __init__(self, name: str = "local", command_timeout_s: float = 60.0) -> None:
        self.name = name
        self.checked_dirs = set[str]()
        self._timeout_s = command_timeout_s

    def run(self, command: Sequence[str] | str, timeout_s: float | None = None) -> CommandResult:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        shown = command if isinstance(command, str) else shlex.join(command)
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:  # the exit statuses of a shell
            status = 127 if error.errno == errno.ENOENT else 126
            return CommandResult("", f"{words[0]}: {error.strerror}", status)
        with process:
            try:
                stdout, stderr = process.communicate(timeout=limit_s)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise CommandTimeoutError(
                        f"{self.name}: `{shown[:200]}` did not end within {limit_s:g} s"
                    ) from error
                raise
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return CommandResult(stdout.decode(errors="replace"), stderr.decode(errors="replace"), code)

    def put(self, local_path: Path, remote_path: str) -> None:
        with self._command_errors():
            atomic_copy(local_path, Path(remote_path))

    def put_bytes(self, data: bytes, remote_path: str) -> None:
        with self._command_errors():
            atomic_write(Path(remote_path), data)

    @contextlib.contextmanager
    def _command_errors(self) -> Iterator[None]:
        """Turn the errors of this machine's disk into those of a device."""
        try:
            yield
        except MosdeployError as error:
            raise CommandError(f"{self.name}: {error}") from error

    def read(self, remote_path: str, offset: int = 0) -> bytes:
        try:
            with Path(remote_path).open("rb") as file:
                file.seek(offset)
                return read_bounded(file, self.name, remote_path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise CommandError(
                f"{self.name}: cannot read {remote_path}: {error.strerror}"
            ) from error

    def home(self) -> str:
        return str(Path.home())

    def close(self) -> None:
        pass


def machine_id() -> str:
    """Fingerprint of the machine's id or, where it has none (most containers), of its name."""
    found = ""
    for path in reversed(ID_PATHS):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = path.read_text(encoding="ascii").strip() or found
    return sha256_bytes(f"mosdeploy {found or platform.node()}".encode())[:16]


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
