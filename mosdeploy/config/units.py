"""Quantities that carry their unit: durations, counts and sizes, shares."""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ..errors import ConfigError
from ..printable import quantity

Statistic = Literal["median", "p90", "p99"]
"""Which figure of repeated times a latency limit is about."""

_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_THOUSANDS = {"k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "B": 1.0}


def parse_duration_ms(text: str) -> float:
    """Read a duration that carries its unit (`150ms`, `3.5s`, `800us`) as milliseconds."""
    return _parse_time(text, _MS, "a duration", "150ms, 3.5s or 800us")


def parse_budget_s(text: str) -> float:
    """Read a time to spend (`90s`, `30m`, `2h`) as seconds."""
    return _parse_time(text, _S, "a time to spend", "90s, 30m or 2h")


def _parse_time(text: str, units: dict[str, float], kind: str, examples: str) -> float:
    value = _number(text, units)
    if not 0 < value < math.inf:
        raise ConfigError(
            f"'{text}' is not {kind}; write a positive number with its unit, like {examples}"
        )
    return value


def parse_count(text: str | int) -> int:
    """Read a count (`4M`, `3500000`) as a whole number."""
    return _parse_whole(text, _THOUSANDS, "a count", "3500000, 4M or 1.5G")


def parse_size(text: str | int) -> int:
    """Read a size (`12MiB`, `4M`, `3500000`) as a whole number of bytes."""
    value = _parse_whole(text, _THOUSANDS | _BYTES, "a size in bytes", "12MiB, 4M or 3500000")
    # `200` is of somebody who means MiB
    if value < 1000 and isinstance(text, str) and not re.search("[A-Za-z]", text):
        raise ConfigError(f"'{text}' is {value} bytes; write {value}MiB, or {value}B if so meant")
    return value


def _parse_whole(text: str | int, units: dict[str, float], kind: str, examples: str) -> int:
    value = _number(text, units | {"": 1.0})
    if not 1 <= value < math.inf:
        raise ConfigError(
            f"'{text}' is not {kind}; write a positive number like {examples} "
            f"({', '.join(units)} may follow it)"
        )
    if value != round(value) and not re.search("[A-Za-z]", str(text)):
        raise ConfigError(f"'{text}' is not {kind}: write a whole number, or one like {examples}")
    return round(value)  # 2.01 * 10**6 is a little less than it should be


def _number(text: str | int, units: dict[str, float]) -> float:
    """A number times what the unit behind it stands for; NaN where it cannot be read."""
    # a program may give a number, which has no unit
    match = re.fullmatch(rf"([0-9]*\.?[0-9]+)\s*({'|'.join(units)})", str(text).strip())
    return float(match[1]) * units[match[2]] if match else math.nan


def parse_percent(text: str) -> float:
    """Read a share that carries its sign (`2%`, `0.5%`) as a number of percent."""
    value = _number(text, {"%": 1.0})
    if not 0 < value < 100:
        raise ConfigError(
            f"'{text}' is not a percentage; write a number between 0 and 100 with its sign, like "
            "2% or 0.5%"
        )
    return value


def write_duration_ms(milliseconds: float) -> str:
    """Write milliseconds as `parse_duration_ms` reads them back."""
    return f"{_all_digits(milliseconds)}ms"


def write_budget_s(seconds: float) -> str:
    """Write seconds as `parse_budget_s` reads them back."""
    return _in_largest_unit(seconds, _S)


def write_count(count: float) -> str:
    """Write a count as `parse_count` reads it back."""
    return _in_largest_unit(count, _THOUSANDS)


def write_size(num_bytes: float) -> str:
    """Write bytes as `parse_size` reads them back."""
    return _in_largest_unit(num_bytes, _BYTES)


def _in_largest_unit(number: float, units: dict[str, float]) -> str:
    """Write a number in the largest unit in which it is whole, else in the smallest."""
    by_size = sorted(units.items(), key=lambda item: item[1], reverse=True)
    for unit, size in by_size:
        if number % size == 0:
            return f"{number / size:.0f}{unit}"
    unit, size = by_size[-1]
    return f"{number:.0f}" if size > 1 else f"{_all_digits(number)}{unit}"


def _all_digits(number: float) -> str:
    # without an exponent, which no option takes
    return f"{Decimal(repr(number)).normalize():f}"


def told_limit(name: str, most: float) -> str:
    """A field of `Limits` for people."""
    key = name.removesuffix("_ms").removesuffix("_bytes")
    if name == "max_body_parameters":
        key = "max_parameters of the encoder"
    return f"{key} = {quantity(name, most)}"


def _checked(parse: Callable[[str], float]) -> BeforeValidator:
    """Keep the text of a quantity if it can be read."""

    def check(given: Any) -> str:
        try:
            parse(str(given))
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return str(given)

    return BeforeValidator(check)


Duration = Annotated[str, _checked(parse_duration_ms)]
Count = Annotated[str, _checked(parse_count)]
Size = Annotated[str, _checked(parse_size)]
Steps = Annotated[int, Field(ge=1, le=10**9)]
MAX_TIMEOUT_S = 7 * 86_400.0
"""A week."""

Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
