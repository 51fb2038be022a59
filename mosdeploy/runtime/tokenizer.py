"""Text to token ids and back, and the splitting of lines that are longer than the model takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import sentencepiece

from .errors import ModelError
from .texts import sentences_of, single_spaced

MAX_TOKEN_LENGTH = 16  # of SentencePiece, in characters

_WORD_START = "▁"
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
    """Makes of a text what a tokenizer of SentencePiece is given, in training as in a bundle:
    single spaces, and no characters without width that the tokenizer does not know.
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


class _Part(NamedTuple):
    text: str
    ids: list[int]


class Tokenizer:
    """The tokenizer of a translation bundle, whose vocabulary must have the size that the manifest
    names.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(path.read_bytes())
            found = self._processor.GetPieceSize()
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"SentencePiece cannot read {path}: {error}; export the bundle again"
            ) from error
        if found != vocab_size:
            raise ModelError(
                f"{path} holds {found} tokens, the manifest says {vocab_size}; "
                "export the bundle again"
            )
        self._normaliser = Normaliser(self._processor)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without end token."""
        return list(self._processor.EncodeAsIds(self._normaliser.normalise(text)))

    def decode(self, ids: list[int]) -> str:
        """Text of ids, on one line, with single spaces."""
        return single_spaced(str(self._processor.DecodeIds(ids)))

    def encode_parts(self, text: str, limit: int) -> list[list[int]]:
        """Ids of a line, in parts of at most `limit`; an empty line has no part."""
        text = self._normaliser.normalise(text)
        ids = self._ids(text)
        if len(ids) <= limit:
            return [ids] if ids else []
        parts: list[_Part] = []
        for gap, sentence in sentences_of(text):
            cut = self._cut(sentence, limit)
            together = self._join(parts[-1], gap, cut[0], limit) if parts and cut else None
            parts[-1:] = [together, *cut[1:]] if together else [*parts[-1:], *cut]
        return [part.ids for part in parts]

    def _ids(self, text: str) -> list[int]:
        return list(self._processor.EncodeAsIds(text))

    def _join(self, left: _Part, gap: str, right: _Part, limit: int) -> _Part | None:
        """Two parts as one, if it keeps the limit."""
        text = f"{left.text}{gap}{right.text}"
        # what is unknown is one token however long it is, and would be split again and again
        is_long = len(text) > limit * MAX_TOKEN_LENGTH
        if is_long or len(left.ids) + len(right.ids) > limit + 1:
            return None
        # no token crosses a space; without one the second would look like the begin of a text
        ids = left.ids + right.ids if gap else self._ids(text)
        return _Part(text, ids) if len(ids) <= limit else None

    def _cut(self, sentence: str, limit: int) -> list[_Part]:
        """A sentence in parts that keep the limit; none if nothing of it is a token."""
        ids = self._ids(sentence)
        pieces = self._processor.EncodeAsPieces(sentence)
        parts = []
        begin = 0
        while begin < len(ids):
            # a text begins with the start of a word, which takes a token where none is
            end = begin + max(1, limit - (not pieces[begin].startswith(_WORD_START)))
            if end < len(ids):
                starts = (i for i in range(end, begin, -1) if pieces[i].startswith(_WORD_START))
                end = next(starts, end)
            text = "".join(pieces[begin:end]).replace(_WORD_START, " ").strip()
            found = self._ids(text)
            if found:
                parts.append(_Part(text, found if len(found) <= limit else ids[begin:end]))
            begin = end
        return parts
