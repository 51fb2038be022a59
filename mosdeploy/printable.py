"""Text for people: safe to print, whoever wrote it; times and sizes in the unit that suits them."""

import unicodedata

_SIZES = ((2**30, "GiB", ",.1f"), (2**20, "MiB", ",.1f"), (2**10, "KiB", ",.0f"))
"""Bytes of each unit, the largest first, and how a number of it is written."""


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


def duration(seconds: float) -> str:
    """A time for people.

    Examples
    --------
    >>> duration(40), duration(720), duration(12600)
    ('40 s', '12 min', '3.5 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def byte_size(num_bytes: float, style: str | None = None) -> str:
    """A size for people: in MiB, a small one in KiB, a large one in GiB.

    Parameters
    ----------
    style
        Format of the number: `.4g` where it stands beside a limit that it may miss by little.

    Examples
    --------
    >>> byte_size(1_000), byte_size(3 * 2**19), byte_size(47 * 2**29)
    ('1 KiB', '1.5 MiB', '23.5 GiB')
    >>> byte_size(201 * 2**20, ".4g")
    '201 MiB'
    """
    unit_bytes, unit, usual = next((x for x in _SIZES if num_bytes >= x[0]), _SIZES[-1])
    return f"{num_bytes / unit_bytes:{style or usual}} {unit}"


def kept(measured_ms: float | None, limit_ms: float | None) -> str:
    """Whether a limit is kept, as the end of a line; empty where there is nothing to compare."""
    if measured_ms is None or limit_ms is None:
        return ""
    return f", limit {limit_ms:g} ms {'kept' if measured_ms <= limit_ms else 'NOT kept'}"


def memory_kept(taken_bytes: int | None, most_bytes: int | None) -> str:
    """The same for memory, which is told beside its limit alone."""
    if taken_bytes is None or most_bytes is None:
        return ""
    word = "kept" if taken_bytes <= most_bytes else "NOT kept"
    return f", {byte_size(taken_bytes)} of memory, limit {byte_size(most_bytes, 'g')} {word}"
