"""The interface to a device: run commands, move files, and check what the device says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from ..errors import CommandError, ConfigError
from ..printable import byte_size, printable
from ..record import Record, load_json, parse

MAX_READ_BYTES = 64 << 20
"""The most that is read of a file, or of what a command prints, at a time."""

_MAX_MESSAGE = 1000
_MAX_TEXT = 2000  # no text that is kept or shown is longer
_MAX_ITEMS = 20_000  # no list or table is longer
_MAX_INT = 1 << 63
R = TypeVar("R", bound=Record)


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

    def put(self, local_path: Path, remote_path: str) -> None:
        """Upload a file whole or not at all; an upload that was cut is continued."""

    def put_bytes(self, data: bytes, remote_path: str) -> None:
        """Upload bytes as a file, whole or not at all; raises as `put`."""

    def read(self, remote_path: str, offset: int = 0) -> bytes:
        """Read a remote file from a byte offset to its present end."""

    def home(self) -> str:
        """Absolute path of the home folder on the device."""

    def close(self) -> None:
        """Close the connection; processes on the device go on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_run(session: Session, command: Sequence[str] | str, what: str) -> str:
    """Run a command that has to succeed, and return its standard output."""
    result = session.run(command)
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


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_bounded(file: _Readable, name: str, path: str) -> bytes:
    """Read the rest of a file of a device."""
    data = file.read(MAX_READ_BYTES + 1)
    refuse_too_long(len(data), name, path)
    return data


def refuse_too_long(num_bytes: int, name: str, what: str) -> None:
    """Make sure that what was read is no more than a device has to say."""
    if num_bytes > MAX_READ_BYTES:
        raise CommandError(
            f"{name}: {what} is longer than {byte_size(MAX_READ_BYTES)}, more than mosdeploy "
            "ever puts there; look at it on the device"
        )


def parse_answer(kind: type[R], text: str | bytes, source: str) -> R:
    """Read a record from the JSON that a device printed or holds; a device is not trusted."""
    try:
        return parse(kind, _printable_data(load_json(text)), source)
    except (ValueError, RecursionError, ConfigError) as error:
        what = printable(str(error)).removeprefix(f"{source}: ")[:_MAX_MESSAGE]
        raise CommandError(f"{source}: the device gave no valid answer: {what}") from error


def _printable_data(data: Any) -> Any:
    if isinstance(data, str):
        return printable(data[:_MAX_TEXT]).replace("\n", " ")  # one line in a message, or a file
    if isinstance(data, int) and abs(data) > _MAX_INT:
        raise ValueError("a number that no device has")
    if isinstance(data, list | dict) and len(data) > _MAX_ITEMS:
        raise ValueError(f"{len(data):,} entries, more than any device has")
    if isinstance(data, list):
        return [_printable_data(item) for item in data]
    if isinstance(data, dict):
        return {printable(key[:_MAX_TEXT]): _printable_data(x) for key, x in data.items()}
    return data
