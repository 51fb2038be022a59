"""Text to token ids and back, and the splitting of lines that are longer than the model takes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import sentencepiece

from .errors import ModelError
from .normaliser import Normaliser
from .sentences import sentences_of
from .texts import single_spaced

MAX_TOKEN_LENGTH = 16  # of SentencePiece, in characters

_WORD_START = "▁"


class _Part(NamedTuple):
    text: str
    ids: list[int]


class Tokenizer:
    """The tokenizer of a bundle.

    Raises
    ------
    ModelError
        If SentencePiece cannot read the file, or its vocabulary is not of the size that the
        manifest names.
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
