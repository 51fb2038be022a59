"""One line of a file of measurements, read or refused with what to do about it."""

from typing import TypeVar

from ..errors import ConfigError, StaleInputError, UnknownKeyError
from ..record import Record, parse_json

R = TypeVar("R", bound=Record)


def parse_line(model: type[R], line: bytes, place: str, *, holder: str, remedy: str) -> R:
    """Read one line."""
    try:
        return parse_json(model, line, place)
    except UnknownKeyError as error:
        raise StaleInputError(
            f"{error}; it was made by another version of mosdeploy: update mosdeploy, or move "
            f"{holder} away and run `mosdeploy profile` again"
        ) from error
    except ConfigError as error:
        raise StaleInputError(f"{error}; {remedy}") from error
