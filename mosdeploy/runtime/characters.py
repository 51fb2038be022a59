"""Which strings are texts: Python's, and JSON's, can hold halves of characters, which no tokenizer
reads.
"""

from __future__ import annotations

from .errors import InputError


def check_characters(text: str, name: str = "") -> None:
    r"""Make sure that UTF-8 can write a text.

    Parameters
    ----------
    name
        Of the line, for the message; without one its beginning.

    Raises
    ------
    InputError
        If it holds one of the characters U+D800 to U+DFFF.

    Examples
    --------
    >>> check_characters("caf\u00e9")
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name or repr(text[:100])}: {text[error.start]!r} is half of a character of two; "
            "write both halves, or leave it out"
        ) from error
