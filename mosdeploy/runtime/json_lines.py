"""Lines of input: texts, or JSON Lines, which are objects with `text` and, for two that are judged
together, `text_pair`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from .errors import InputError
from .manifest import unique_keys
from .texts import check_characters

_TO_SPACES = {ord(character): " " for character in "\t\n\r"}


def decoded(lines: Iterable[bytes], are_json: bool, first: int = 1) -> Iterator[str]:
    r"""Lines of a file or of stdin as text; a byte order mark before the first is passed over.

    Parameters
    ----------
    are_json
        They are objects, each of which becomes the line that stands for it.
    first
        Number of the first of them, where others came before.

    Raises
    ------
    InputError
        If one is not UTF-8, or no JSON object with a text.

    Examples
    --------
    >>> list(decoded([b"one\r\n", b"two"], are_json=False))
    ['one', 'two']
    """
    for number, line in enumerate(lines, first):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"line {number} is not UTF-8 ({error.reason}); convert the input, for example with "
                "iconv"
            ) from error
        yield line_of_json(text, number) if are_json else text


def line_of_json(content: str, number: int) -> str:
    r"""The line that stands for an object; a tab separates two texts.

    Tabs and ends of lines inside a text become spaces, one for one, so that places of characters
    stay what they are. Other keys are passed over. A blank line is an empty text: each line has
    an answer.

    Parameters
    ----------
    number
        Of the line, for the message.

    Raises
    ------
    InputError
        If it is no JSON object with a text, a key is there twice, or the text holds half of a
        character.

    Examples
    --------
    >>> line_of_json('{"text": "one", "text_pair": "two"}', 1)
    'one\ttwo'
    """
    if not content.strip():
        return ""
    try:
        found = json.loads(content, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number} is not JSON: {error}") from error
    if not isinstance(found, dict) or "text" not in found:
        raise InputError(f'line {number} is no object with a "text": {content[:100]}')
    texts = [found["text"]]
    if found.get("text_pair") is not None:
        texts.append(found["text_pair"])
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"line {number}: a text is no string: {content[:100]}")
    for text in texts:
        check_characters(text, f"line {number}")
    return "\t".join(text.translate(_TO_SPACES) for text in texts)
