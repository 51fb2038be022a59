"""The machine that mosdeploy runs on, as a device."""

import contextlib
import errno
import os
import platform
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import CommandError, CommandTimeoutError, MosdeployError
from ..storage import atomic_copy, atomic_write, sha256_bytes
from .session import CommandResult, Session, read_bounded

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
