"""What a device says: text that is safe to print, and records. A device is not trusted."""

from typing import Any, Protocol, TypeVar

from ..errors import CommandError, ConfigError
from ..printable import byte_size, printable
from ..record import Record, load_json, parse

MAX_READ_BYTES = 64 << 20
"""The most that is read of a file, or of what a command prints, at a time."""

_MAX_MESSAGE = 1000
_MAX_TEXT = 2000  # no text that is kept or shown is longer
_MAX_INT = 1 << 63
R = TypeVar("R", bound=Record)


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
    """A record of the JSON that a device printed or holds."""
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
    if isinstance(data, list):
        return [_printable_data(item) for item in data]
    if isinstance(data, dict):
        return {printable(key[:_MAX_TEXT]): _printable_data(x) for key, x in data.items()}
    return data
