"""Text to token ids and back, and the splitting of lines that are longer than the model takes.

A long line is split at ends of sentences; a sentence that is too long by itself, before the last
word that fits; a word that is too long by itself, anywhere. Parts are then joined again as long as
they fit, translated one by one, and their translations joined by a space.
"""

from __future__ import annotations

import re
from pathlib import Path

import sentencepiece

from .errors import ModelError
from .normaliser import Normaliser
from .texts import single_spaced

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。！？；])")
_WORD_START = "▁"


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
        ids = self.encode(text)
        if len(ids) <= limit:
            return [ids] if ids else []
        sentences = (self.encode(sentence) for sentence in _SENTENCE_END.split(text))
        parts: list[list[int]] = []
        for part in (part for sentence in sentences for part in self._cut(sentence, limit)):
            if parts and len(parts[-1]) + len(part) <= limit:
                parts[-1] = parts[-1] + part
            else:
                parts.append(part)
        return parts

    def _cut(self, ids: list[int], limit: int) -> list[list[int]]:
        parts = []
        begin = 0
        while len(ids) - begin > limit:
            starts = (
                i
                for i in range(begin + limit, begin, -1)
                if self._processor.IdToPiece(ids[i]).startswith(_WORD_START)
            )
            end = next(starts, begin + limit)
            parts.append(ids[begin:end])
            begin = end
        return [*parts, ids[begin:]] if ids else parts
