"""Cells of the page's tables and lists: figures with units, verdicts in colour, fingerprints."""

from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup, escape

from .. import printable

NBSP = "\N{NO-BREAK SPACE}"

Cell = str | int | Markup
"""Text is escaped by the template; `Markup` is HTML already."""

Facts = tuple[tuple[str, Cell | None], ...]
"""Names and values; a value of None is not shown."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    is_stacked: bool = False


def milliseconds(value_ms: float | None) -> str:
    """Spell a time with three significant digits; a dash for None."""
    return printable.milliseconds(value_ms).replace(" ", NBSP)


def estimate(value_ms: float | None, error_percent: float | None) -> str:
    """Spell a predicted time with its predictor's error, where that is known: 1.62 ms ± 25%."""
    if value_ms is None or error_percent is None:
        return milliseconds(value_ms)
    decimals = 0 if error_percent >= 1 else 1
    return f"{milliseconds(value_ms)} ±{NBSP}{error_percent:.{decimals}f}%"


def byte_size(num_bytes: int | None) -> str:
    """Spell a size in KiB, MiB or GiB; a dash for None."""
    return "-" if num_bytes is None else printable.byte_size(num_bytes).replace(" ", NBSP)


def counted(number: int, what: str) -> str:
    """Spell a number of things: 1 layer, 2 layers."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def device_name(device: str) -> str:
    """Name a device in a sentence; that of the profile `local` is this machine."""
    return "this machine" if device == "local" else device


def moment(text: str) -> str:
    """Spell a time of a record: 2025-03-01 12:30 UTC; other text stays as it is."""
    try:
        time = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return Markup("<time>{:%Y-%m-%d %H:%M} UTC</time>").format(time)


def code(text: str) -> Markup:
    """Set a key or a fingerprint in a fixed-width font."""
    return Markup("<code>{}</code>").format(text)


def noted(value: str, note: str) -> Markup:
    """Put a note in small letters behind a figure."""
    return Markup("{}<small>{}</small>").format(value, note)


def wide(text: str) -> Markup:
    """Keep a long text, such as an architecture, from being broken into a narrow column."""
    return Markup('<span class="wide">{}</span>').format(text)


def good(text: str) -> Markup:
    """Mark a cell as passed."""
    return Markup('<span class="good">{}</span>').format(text)


def bad(text: str) -> Markup:
    """Mark a cell as failed."""
    return Markup('<span class="bad">{}</span>').format(text)


def limit_verdict(limit: str, kept: bool | None) -> Markup:
    """Spell a limit and whether it is kept; None where that cannot be told."""
    if kept is None:
        return escape(limit)
    return Markup("{} {}").format(limit, good("kept") if kept else bad("broken"))
