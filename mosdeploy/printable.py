"""Text for people: safe to print, whoever wrote it, and times in the unit that people use."""

import unicodedata


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
