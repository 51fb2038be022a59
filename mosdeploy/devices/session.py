"""The interface through which commands run and files move on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ..errors import CommandError
from ..printable import byte_size, printable


@dataclass(frozen=True)
class CommandResult:
    """The output and exit status of a command; undecodable bytes of the output are replaced."""

    stdout: str
    stderr: str
    returncode: int


class Session(Protocol):
    r"""A connection to a device, which runs commands and holds files; each call ends in a
    time-out.
    """

    name: str
    checked_dirs: set[str]

    def run(self, command: Sequence[str] | str, timeout_s: float | None = None) -> CommandResult:
        """Run a command (words, or text for `sh`) with stdin closed, and wait for its end."""
        ...

    def put(self, local_path: Path, remote_path: str) -> None:
        """Upload a file whole or not at all; an upload that was cut is continued."""
        ...

    def put_bytes(self, data: bytes, remote_path: str) -> None:
        """Upload bytes as a file, whole or not at all; raises as `put`."""
        ...

    def read(self, remote_path: str, offset: int = 0) -> bytes:
        """Read a remote file from a byte offset to its present end."""
        ...

    def home(self) -> str:
        """Absolute path of the home folder on the device."""
        ...

    def close(self) -> None:
        """Close the connection; processes on the device go on."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_run(
    session: Session, command: Sequence[str] | str, what: str, timeout_s: float | None = None
) -> str:
    """Run a command that has to succeed, and return its standard output."""
    result = session.run(command, timeout_s)
    if result.returncode != 0:
        raise CommandError(
            f"{session.name}: {what} failed (exit status {result.returncode}): {last_lines(result)}"
        )
    return result.stdout


def last_lines(result: CommandResult, count: int = 3) -> str:
    """The last few lines that a command printed, on one line, for a message."""
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    short = (line.strip()[:500] for line in lines[-count:])
    return printable(" | ".join(short)) or "it printed nothing"


def no_space(name: str, path: str, free_bytes: int | None, size_bytes: int) -> CommandError:
    """Build the error for a device whose disk is full."""
    free = "no space left" if free_bytes is None else f"{byte_size(free_bytes)} free"
    return CommandError(
        f"{name}: disk full: {path} needs {byte_size(size_bytes)}, {free}; free some space "
        "there, or choose another work_dir in the device profile, and run the same command again: "
        "what was finished is kept"
    )
