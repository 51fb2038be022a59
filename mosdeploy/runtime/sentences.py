"""The sentences of a line, and one line of the translations of its parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

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


def sentences_of(text: str) -> Iterator[tuple[str, str]]:
    """Sentences of a text with single spaces, each with what stands before it: a space or nothing.

    Examples
    --------
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

    Examples
    --------
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
