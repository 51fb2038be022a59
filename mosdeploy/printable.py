"""Text for people: safe to print, whoever wrote it; times and sizes in the unit that suits them."""

import difflib
import math
from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context

from .runtime.texts import printable as printable

LEAST = ROUND_CEILING
"""How a figure is rounded that somebody may take as a limit."""

EMULATED = "emulated: not a latency"

_SIZES = ((2**30, "GiB", ",.1f"), (2**20, "MiB", ",.1f"), (2**10, "KiB", ",.0f"))
"""Bytes of each unit, the largest first, and how a number of it is written."""


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plain(value: float, digits: int = 6, rounding: str = ROUND_HALF_EVEN) -> str:
    """A number to so many digits, without the powers of ten that `:g` falls back to."""
    rounded = Context(digits, rounding).create_decimal_from_float(float(value))
    return f"{rounded.normalize():f}"


def latency(value_ms: float | None, digits: int = 6, rounding: str = ROUND_HALF_EVEN) -> str:
    """A latency or a limit on it; a dash for None."""
    return "-" if value_ms is None else f"{plain(value_ms, digits, rounding)} ms"


def three_digits(value: float) -> str:
    """Spell a number with three significant digits, or all before its point."""
    # of 9.996 the third digit is the first decimal
    magnitude = math.floor(math.log10(float(f"{value:.2e}"))) if value > 0 else 0
    return f"{value:.{max(0, 2 - magnitude)}f}"


def milliseconds(value_ms: float | None) -> str:
    """A time that was measured or predicted, whose further digits say nothing; a dash for None."""
    return "-" if value_ms is None else f"{three_digits(value_ms)} ms"


def quantity(name: str, value: float, rounding: str = ROUND_HALF_EVEN) -> str:
    """A value of a field in the unit that its name ends with, as people read it."""
    if name.endswith("_ms"):
        return latency(value, rounding=rounding)
    return byte_size(value, 6, rounding) if name.endswith("_bytes") else f"{value:,.0f}"


def score(value: float | None) -> str:
    """A metric, most of which go from 0 to 100: with one decimal from 1 on, with three below, as an
    error of small labels needs; a dash for None.
    """
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 1 or not value else f"{value:.3f}"


def byte_size(num_bytes: float, digits: int | None = None, rounding: str = ROUND_HALF_EVEN) -> str:
    """A size for people: in MiB, a small one in KiB, a large one in GiB."""
    if digits is not None and num_bytes < 2**10:
        return f"{num_bytes:.0f} B"
    unit_bytes, unit, style = next((x for x in _SIZES if num_bytes >= x[0]), _SIZES[-1])
    number = num_bytes / unit_bytes
    told = f"{number:{style}}" if digits is None else plain(number, digits, rounding)
    return f"{told} {unit}"


def likely(name: str, known: Iterable[str]) -> str:
    """The known name that a mistyped one is near to, as a question; empty where it is near
    to none.
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def told_apart(tell: Callable[[float, int], str], figure: float, limit: float) -> tuple[str, str]:
    """A figure and the limit on it, with so many digits that they look as different as they are."""
    # the order of two doubles shows in 17 digits
    digits = (n for n in range(6, 18) if tell(figure, n) != tell(limit, n))
    enough = next(digits, 6)
    return tell(figure, enough), tell(limit, enough)


def beside_limit(num_bytes: int, most_bytes: int) -> tuple[str, str]:
    """A size and the limit on it: short, but where the two would look equal."""
    exact, limit = told_apart(byte_size, num_bytes, most_bytes)
    short = byte_size(num_bytes)
    return (exact if short == byte_size(most_bytes) else short), limit


def loss_mark(base_loss: float | None) -> str:
    """What stands behind the loss of a candidate that stands by that of a smaller one."""
    return "" if base_loss is None else "*"


def figure_note(statistic: str) -> str:
    """Which figure of the times a latency is, as a note behind it; empty for the median."""
    return "" if statistic == "median" else f" ({statistic})"


def predicted(level: float) -> str:
    """What the predicted times of a search are called, which are multiplied by `level`: corrected
    where its finalists took longer or less than was predicted.
    """
    return "predicted" if level == 1.0 else "corrected prediction"


def kept(measured_ms: float | None, limit_ms: float | None, statistic: str = "median") -> str:
    """Whether a limit is kept, as the end of a line that holds the figure with three digits; empty
    where there is nothing to compare.
    """
    if measured_ms is None or limit_ms is None:
        return ""
    word = "kept" if measured_ms <= limit_ms else "NOT kept"
    taken, limit = told_apart(latency, measured_ms, limit_ms)
    looks_equal = three_digits(measured_ms) == three_digits(limit_ms) and taken != limit
    return f", limit {limit}{figure_note(statistic)} {word}{f' ({taken})' if looks_equal else ''}"


def memory_kept(taken_bytes: int | None, most_bytes: int | None) -> str:
    """The same for memory, which is told beside its limit alone."""
    if taken_bytes is None or most_bytes is None:
        return ""
    word = "kept" if taken_bytes <= most_bytes else "NOT kept"
    taken, limit = beside_limit(taken_bytes, most_bytes)
    return f", {taken} of memory, limit {limit} {word}"
