"""What a tokenizer of SentencePiece is given of a text: the same in training and in a bundle."""

from __future__ import annotations

import re
from typing import Any

from .texts import single_spaced

_BETWEEN_WORDS = "\u200b\ufeff"  # white space without width

_UNSEEN = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0))),  # controls
    "\u00ad",  # soft hyphen
    *map(chr, (0x061C, *range(0x200B, 0x2010), *range(0x202A, 0x202F))),  # joiners, directions
    *map(chr, range(0x2060, 0x2070)),  # word joiner and its like
    *map(chr, range(0xFE00, 0xFE10)),  # which variant of the character before
    "\ufeff",  # byte order mark
]
_ANY_UNSEEN = re.compile(f"[{re.escape(''.join(_UNSEEN))}]")


class Normaliser:
    """Normalises texts for a tokenizer.

    Parameters
    ----------
    processor
        Of SentencePiece, with its model.
    """

    def __init__(self, processor: Any) -> None:
        unknown = processor.unk_id()
        self._replaced = {
            ord(character): " " if character in _BETWEEN_WORDS else None
            for character in _UNSEEN
            if not character.isspace() and unknown in processor.EncodeAsIds(character)
        }

    def normalise(self, text: str) -> str:
        """A text as the tokenizer is to split it."""
        if _ANY_UNSEEN.search(text):  # most have none, and a search is 20 times as fast
            text = text.translate(self._replaced)
        return single_spaced(text)
