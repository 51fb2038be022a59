"""Texts and lines: checks, reading, notes on those that were not read whole, sentences."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .errors import InputError

SHOWN = 60
"""Characters of a text that a message repeats."""

_CLOSERS = re.escape(")]}»›”’」』】》〉）］｝")
_AMBIGUOUS = re.escape("\"'“‘«‹")  # close only where white space follows
_WIDE_ENDS = "。！？；｡"

_END = re.compile(
    # Latin and its like, danda, Arabic and Urdu, Armenian, Ethiopic, Burmese, Khmer
    rf"[.!?;:…।॥؟؛۔։።။។][{_CLOSERS}{_AMBIGUOUS}]*(?: [»›](?= ))? "
    # those of Chinese and Japanese: behind the last of several, and no space is needed
    rf"|[{_WIDE_ENDS}][{_CLOSERS}]* ?(?! ?[{_WIDE_ENDS}{_CLOSERS}])"
)

_WIDE = re.compile(
    "[\u3000-\u312f\u31a0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff]"
)
"""Chinese and Japanese characters, and their punctuation."""
_WIDE_PUNCTUATION = re.compile("[\u3001-\u303f]")

# they turn the order of what follows around
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

_TO_SPACES = {ord(character): " " for character in "\t\n\r"}


# -- what is a text --------------------------------------------------------------------------------


def check_texts(given: Any, noun: str = "text") -> None:
    """Make sure that texts come as a list of them, and each is one: Python takes a bare text for
    the list of its letters, and holds halves of characters, which no tokenizer reads.
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
    """Make sure that UTF-8 can write a text; `name` is for the message."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: {text[error.start]!r} is half of a character of two; write both halves, or "
            "leave it out"
        ) from error


def single_spaced(text: str) -> str:
    r"""A text as training reads it: white space is single spaces between words.

    >>> single_spaced(" a\tb \x0c c")
    'a b c'
    """
    return " ".join(text.split())


def is_one_line(text: str) -> bool:
    r"""Whether a text can stand in a line, between tabs: it holds no end of a line, no tab and
    nothing that steers a terminal.

    >>> is_one_line("very good"), is_one_line("very\ngood"), is_one_line("\x1b[2J")
    (True, False, False)
    """
    return not any(map(_is_steering, text)) and text.splitlines() in ([], [text])


def printable(text: str) -> str:
    r"""Replace what steers a terminal: messages of libraries repeat what stands in a bundle.

    >>> printable("\x1b[2Jred\n")
    '?[2Jred\n'
    """
    return "".join(
        "?" if x in _DIRECTIONS or (x not in "\n\t" and _is_steering(x)) else x for x in text
    )


def _is_steering(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


# -- lines of input, and notes on their answers ---------------------------------------------------


def decoded(lines: Iterable[bytes], are_json: bool, first: int = 1) -> Iterator[str]:
    """Lines of a file or of stdin, from number `first` on, as text; a byte order mark before the
    first of all is passed over. If they are JSON objects, each becomes the line that stands for it.
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
    r"""The line that stands for an object with `text` and, for two that are judged together,
    `text_pair`: a tab separates these. A blank line is an empty text: each line has an answer.

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
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"line {number}: a text is no string: {content[:100]}")
        check_characters(text, f"line {number}")
    # one for one, so that places of characters stay what they are
    return "\t".join(text.translate(_TO_SPACES) for text in texts)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice, nobody can say which value is right."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} is there twice")
        found[key] = value
    return found


class LineNotes:
    """Counts lines that were cut, read in windows, or read as one text or two against what the
    model has learned; its text says so in one line.

    >>> print(LineNotes([{"label": "yes"}, {"label": "no", "num_windows": 3}]))
    1 of 2 lines were too long and were read in 3 windows
    """

    def __init__(self, answers: Iterable[Mapping[str, Any]] = ()) -> None:
        self.num_lines = 0
        self.num_windows = 0
        self._counts: Counter[str] = Counter()
        self.add(answers)

    def add(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Count more answers, as a model's `answer` gives them."""
        for answer in answers:
            self.num_lines += 1
            self.num_windows += answer.get("num_windows", 0)
            self._counts.update(answer.keys())

    def __str__(self) -> str:
        notes = {
            "is_cut": "lines were too long and were cut",
            "num_windows": f"lines were too long and were read in {self.num_windows} windows",
            "is_single": "lines hold one text, and the model has learned two together: a tab "
            "separates them, or text_pair in JSON",
            "is_joined": "lines hold a tab, or text_pair in JSON, and the model has learned single "
            "texts: it was read as a space",
            "is_unfinished": "translations were cut at the most tokens that the bundle makes of a "
            "line (export.max_decode_steps)",
        }
        return "; ".join(
            f"{self._counts[key]} of {self.num_lines} {note}"
            for key, note in notes.items()
            if self._counts[key]
        )


# -- sentences -------------------------------------------------------------------------------------


def sentences_of(text: str) -> Iterator[tuple[str, str]]:
    """Sentences of a text with single spaces, each with what stands before it: a space or nothing.

    >>> list(sentences_of('He said "no." We left.'))
    [('', 'He said "no."'), (' ', 'We left.')]
    """
    begin = 0
    gap = ""
    for match in _END.finditer(text):
        end = match.end()
        if end == len(text):
            break
        yield gap, text[begin:end].rstrip(" ")
        gap = " " if text[end - 1] == " " else ""
        begin = end
    if begin < len(text):
        yield gap, text[begin:]


def joined(texts: Iterable[str]) -> str:
    """Texts in one line, with a space between two unless their script writes none there; empty
    ones are passed over.

    >>> joined(["a house.", "", "a cat."]), joined(["\u5bb6\u3002", "\u732b\u3002"])
    ('a house. a cat.', '\u5bb6\u3002\u732b\u3002')
    """
    line = ""
    for text in filter(None, texts):
        line += text if not line or _have_no_space_between(line, text) else f" {text}"
    return line


def _have_no_space_between(before: str, after: str) -> bool:
    if _WIDE_PUNCTUATION.match(before[-1]):
        return True
    # NFKC makes full-width punctuation that of Latin
    left = next((x for x in reversed(before) if x.isalnum() or _WIDE.match(x)), "")
    right = next((x for x in after if x.isalnum() or _WIDE.match(x)), "")
    return bool(_WIDE.match(left) and _WIDE.match(right))
