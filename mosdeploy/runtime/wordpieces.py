"""Text to token ids, by a `tokenizer.json` of Hugging Face.

In: a line of text; two texts are separated by a tab. Out: ids with the special tokens around them,
cut to the longest text that the model takes, and where in the line each came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tokenizers

from .errors import ModelError


@dataclass(frozen=True)
class Pieces:
    """Ids of a line.

    Attributes
    ----------
    spans
        Characters of the line that each id stands for, from and to; empty for special tokens.
    is_cut
        Whether the line was longer than the model takes.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    is_cut: bool


class WordPieces:
    """The tokenizer of an encoder's bundle.

    Parameters
    ----------
    vocab_size
        Ids that the model has vectors for.
    max_len
        Most ids of a line.
    takes_pairs
        Whether a tab separates two texts.

    Attributes
    ----------
    separator_id
        Of the token behind each text; None where there is none.

    Raises
    ------
    ModelError
        If the file is no tokenizer, or has more ids than the model.
    """

    def __init__(self, path: Path, vocab_size: int, max_len: int, takes_pairs: bool) -> None:
        self._takes_pairs = takes_pairs
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
            self._tokenizer.no_padding()  # a file may say that all texts are padded to one length
            self._tokenizer.enable_truncation(max_len, strategy="longest_first")
            special = self._tokenizer.encode("").ids
        except Exception as error:  # the library raises no class of its own
            raise ModelError(
                f"tokenizers {tokenizers.__version__} cannot read {path}: {error}; "
                "export the bundle again"
            ) from error
        found = self._tokenizer.get_vocab_size()
        if found > vocab_size:
            raise ModelError(
                f"{path} holds {found} tokens, the manifest says {vocab_size}; "
                "export the bundle again"
            )
        self.separator_id: int | None = special[-1] if special else None

    def encode(self, text: str) -> list[int]:
        """Ids of a line."""
        return self.split(text).ids

    def split(self, text: str) -> Pieces:
        """Ids of a line, and where they come from.

        Raises
        ------
        ModelError
            If the line cannot be split: it knows no unknown token.
        """
        first, tab, second = text.partition("\t")
        pair = second if tab and self._takes_pairs else None
        try:
            found = self._tokenizer.encode(text if pair is None else first, pair)
        except Exception as error:
            raise ModelError(f"the tokenizer cannot split {text[:100]!r}: {error}") from error
        return Pieces(list(found.ids), list(found.offsets), bool(found.overflowing))
