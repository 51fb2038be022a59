"""What a device says: text that is safe to print, and records. A device is not trusted.

In: what was printed there, or what a file there holds. Out: text without control characters, a
record, or a CommandError.
"""

import json
import unicodedata
from typing import Any, TypeVar

from ..errors import CommandError, ConfigError
from ..record import Record, parse

MAX_READ_BYTES = 64 << 20
"""The most that is read of a file, or of what a command prints, at a time."""

_MAX_MESSAGE = 1000
R = TypeVar("R", bound=Record)


def printable(text: str) -> str:
    r"""Replace characters that steer a terminal or are no text; lines and tabs stay.

    Examples
    --------
    >>> printable("\x1b[2Jred")
    '?[2Jred'
    """
    return "".join(
        "?" if unicodedata.category(x) in ("Cc", "Cs") and x not in "\n\t" else x for x in text
    )


def parse_answer(kind: type[R], text: str | bytes, source: str) -> R:
    """A record of the JSON that a device printed or holds.

    Raises
    ------
    CommandError
        If it is no JSON, or does not fit.
    """
    try:
        return parse(kind, _printable_data(json.loads(text)), source)
    except (ValueError, RecursionError, ConfigError) as error:
        what = printable(str(error)).removeprefix(f"{source}: ")[:_MAX_MESSAGE]
        raise CommandError(f"{source}: the device gave no valid answer: {what}") from error


def _printable_data(data: Any) -> Any:
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, list):
        return [_printable_data(item) for item in data]
    if isinstance(data, dict):
        return {printable(key): _printable_data(value) for key, value in data.items()}
    return data
