"""Text to token ids, by a `tokenizer.json` of Hugging Face."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from .errors import LineError, ModelError
from .texts import single_spaced

OVERLAP_SHARE = 4
"""Of the pieces of a window, so many-th are those at the end of the window before."""


@dataclass(frozen=True)
class Pieces:
    """Ids of a line; `spans` are the characters, from and to, that each stands for where white
    space is single spaces, empty for special tokens; `is_cut` if the line was too long.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    is_cut: bool

    @property
    def num_content(self) -> int:
        """How many of the ids stand for characters of the line."""
        return sum(end > start for start, end in self.spans)


class WordPieces:
    """The tokenizer of an encoder's bundle, which gives at most `max_len` ids; a tab separates two
    texts if it `takes_pairs`, otherwise it is a space.
    """

    def __init__(self, path: Path, vocab_size: int, max_len: int, takes_pairs: bool) -> None:
        self._takes_pairs = takes_pairs
        self._max_len = max_len
        with _library_errors(f"tokenizers {tokenizers.__version__} cannot read {path}"):
            self._tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
            self._tokenizer.no_padding()  # a file may say that all texts are padded to one length
            self._tokenizer.no_truncation()  # see `kept_positions`
            special = self._tokenizer.encode("").ids
        found = self._tokenizer.get_vocab_size()
        if found > vocab_size:
            raise ModelError(
                f"{path} holds {found} tokens, the manifest says {vocab_size}; "
                "export the bundle again"
            )
        # of the token behind each text; None where there is none
        self.separator_id: int | None = special[-1] if special else None

    def encode(self, text: str) -> list[int]:
        """Ids of a line."""
        return self.split(text).ids

    def split(self, text: str) -> Pieces:
        """Ids of a line, and where they come from."""
        texts = text.split("\t", 1) if self._takes_pairs else [text]
        first, *second = map(single_spaced, texts)
        with _library_errors(f"the tokenizer cannot split {text[:100]!r}"):
            return _pieces(
                self._tokenizer.encode(first, second[0] if second else None), self._max_len
            )

    def split_whole(self, text: str) -> list[Pieces]:
        """Ids of a line, all of them: in one window if it is short enough, else in windows of
        `max_len` ids, each with its special tokens, of whose other pieces the first quarter are the
        last ones of the window before.
        """
        whole = self.split(text)
        if not whole.is_cut:
            return [whole]
        # which part of one text belongs to which of the other, nobody knows
        if self._takes_pairs and "\t" in text:
            raise LineError(
                f"{text[:100]!r} holds two texts that have more than {self._max_len} tokens "
                "together; only single texts are read in windows: shorten these, or have long "
                "texts cut",
                line=text,
            )
        with _library_errors(f"the tokenizer cannot split {text[:100]!r}"):
            found = self._windowing.encode(single_spaced(text))
            return [_pieces(window, self._max_len) for window in (found, *found.overflowing)]

    @functools.cached_property
    def _windowing(self) -> tokenizers.Tokenizer:
        """The tokenizer again, which keeps what it cuts off; most programs never need it."""
        tokenizer = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        room = self._max_len - tokenizer.num_special_tokens_to_add(False)
        tokenizer.enable_truncation(self._max_len, stride=room // OVERLAP_SHARE)
        return tokenizer


def kept_positions(found: tokenizers.Encoding, max_len: int | None) -> Sequence[int]:
    """Positions of the ids that stay where a text is cut to `max_len` ids; of two texts the longer
    one is cut first, and the special tokens around them stay. None cuts nothing.
    """
    # the library cuts in the same way, but makes windows of what it cuts off, of two texts each
    # window of one with each of the other: of two long ones millions
    owners = found.sequence_ids  # text 0 or 1 of each id; None for the special tokens around them
    if max_len is None or len(owners) <= max_len:
        return range(len(owners))
    lengths = (owners.count(0), owners.count(1))
    room = max_len - owners.count(None)
    shorter = int(lengths[1] < lengths[0])  # where both are as long, the second keeps one more
    fewer = min(lengths[shorter], room // 2)
    kept = {shorter: fewer, 1 - shorter: room - fewer}
    ends = {text: owners.index(text) + kept[text] for text in kept if lengths[text]}
    return [i for i, text in enumerate(owners) if text is None or i < ends[text]]


def _pieces(found: tokenizers.Encoding, max_len: int) -> Pieces:
    positions = kept_positions(found, max_len)
    ids = found.ids
    spans = found.offsets
    is_cut = len(positions) < len(ids)
    return Pieces([ids[i] for i in positions], [spans[i] for i in positions], is_cut)


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
