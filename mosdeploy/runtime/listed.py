"""Lists of texts, which a bare text must not be taken for: Python would go through its letters."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import InputError

SHOWN = 60
"""Characters of a text that a message repeats."""


def check_listed(given: Sequence[str], noun: str) -> None:
    """Make sure that texts come as a list of them.

    Parameters
    ----------
    noun
        What each of them is, for the message.

    Raises
    ------
    InputError
        If it is one text, or something in it is none.

    Examples
    --------
    >>> check_listed(["A house."], "text")
    """
    if isinstance(given, str):
        start = repr(given if len(given) <= SHOWN else given[:SHOWN] + "...")
        raise InputError(f"{start} is one {noun}, not a list of them; write [{start}]")
    for item in given:
        if not isinstance(item, str):
            raise InputError(f"{repr(item)[:SHOWN]} is no {noun}; write a list of texts")
