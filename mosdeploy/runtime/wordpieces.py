"""Text to token ids, by a `tokenizer.json` of Hugging Face.

In: a line of text; two texts are separated by a tab. Out: ids with the special tokens around them,
cut to the longest text that the model takes, and where in the line each came from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
        with _library_errors(f"tokenizers {tokenizers.__version__} cannot read {path}"):
            self._tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
            self._tokenizer.no_padding()  # a file may say that all texts are padded to one length
            self._tokenizer.enable_truncation(max_len, strategy="longest_first")
            special = self._tokenizer.encode("").ids
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
            If the line cannot be split: there is no unknown token, or the file is damaged.
        """
        first, tab, second = text.partition("\t")
        pair = second if tab and self._takes_pairs else None
        with _library_errors(f"the tokenizer cannot split {text[:100]!r}"):
            found = self._tokenizer.encode(text if pair is None else first, pair)
        return Pieces(list(found.ids), list(found.offsets), bool(found.overflowing))


@contextlib.contextmanager
def _library_errors(message: str) -> Iterator[None]:
    """Turn whatever the library raises into a ModelError: it has no class of its own, and what it
    raises where its own code fails is no Exception.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ModelError(f"{message}: {error}; export the bundle again") from error
