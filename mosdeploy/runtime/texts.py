"""What is a text, and a list of texts: Python would take a bare text for the list of its letters,
and holds halves of characters, which no tokenizer reads.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from .errors import InputError

SHOWN = 60
"""Characters of a text that a message repeats."""


def check_texts(given: Any, noun: str = "text") -> None:
    """Make sure that texts come as a list of them, and each is one.

    Parameters
    ----------
    noun
        What each of them is, for the message.

    Raises
    ------
    InputError
        If it is one text or no list, something in it is no text, or one holds half of a
        character.

    Examples
    --------
    >>> check_texts(["A house."])
    """
    if isinstance(given, str):
        start = repr(given if len(given) <= SHOWN else given[:SHOWN] + "...")
        raise InputError(f"{start} is one {noun}, not a list of them; write [{start}]")
    # an array of numpy is no Sequence
    if not isinstance(given, Sequence) and getattr(given, "ndim", 0) != 1:
        raise InputError(f"{repr(given)[:SHOWN]} is no list of {noun}s; write a list or a tuple")
    for item in given:
        if not isinstance(item, str):
            raise InputError(f"{repr(item)[:SHOWN]} is no {noun}; write a list of {noun}s")
        check_characters(item, repr(item[:SHOWN]))


def check_characters(text: str, name: str) -> None:
    r"""Make sure that UTF-8 can write a text.

    Parameters
    ----------
    name
        Of the text or its line, for the message.

    Raises
    ------
    InputError
        If it holds one of the characters U+D800 to U+DFFF.

    Examples
    --------
    >>> check_characters("caf\u00e9", "line 1")
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: {text[error.start]!r} is half of a character of two; write both halves, or "
            "leave it out"
        ) from error


def single_spaced(text: str) -> str:
    r"""A text as training reads it: white space is single spaces between words.

    Examples
    --------
    >>> single_spaced(" a\tb \x0c c")
    'a b c'
    """
    return " ".join(text.split())


def is_one_line(text: str) -> bool:
    r"""Whether a text can stand in a line, between tabs: it holds no end of a line, no tab and
    nothing that steers a terminal.

    Examples
    --------
    >>> is_one_line("very good"), is_one_line("very\ngood"), is_one_line("\x1b[2J")
    (True, False, False)
    """
    return not any(map(_is_steering, text)) and text.splitlines() in ([], [text])


def printable(text: str) -> str:
    r"""Replace what steers a terminal: messages of libraries repeat what stands in a bundle.

    Examples
    --------
    >>> printable("\x1b[2Jred\n")
    '?[2Jred\n'
    """
    return "".join("?" if x not in "\n\t" and _is_steering(x) else x for x in text)


def _is_steering(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")
