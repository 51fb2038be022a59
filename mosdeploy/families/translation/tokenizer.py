"""The joint subword model of both languages."""

import io
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import sentencepiece

from ...config.translation import TranslationRunConfig
from ...errors import ConfigError, StaleInputError
from ...family import TaskData
from ...runtime.texts import single_spaced
from ...runtime.tokenizer import Normaliser
from ...storage import atomic_write, read_bytes

PAD_ID = 0
UNK_ID = 1
BOS_ID = 2
EOS_ID = 3

MAX_TRAINING_PAIRS = 1_000_000
"""Of a larger corpus, evenly spaced pairs train the model: the unigram trainer holds all of its
text in memory.
"""

CHARACTER_COVERAGE = 0.9999
"""Share of the corpus' characters that get a token; the rest, stray symbols of other scripts,
become unknown.
"""

_JOINERS = "\u200c\u200d"

_TOO_FEW = re.compile(r"<= (\d+)\.")
_TOO_SMALL = re.compile(r"required_chars\. \d+ vs (\d+)")
"""What SentencePiece says of a number of tokens that the text does not yield, or that is too small
for its characters.
"""


def train_tokenizer(pairs: Sequence[tuple[str, str]], vocab_size: int, path: Path) -> None:
    """Train one unigram model on both sides and write it, whole or not at all."""
    try:
        model = _train(pairs, vocab_size)
    except RuntimeError as error:
        raise ConfigError(_explain(str(error), vocab_size, len(pairs))) from error
    atomic_write(path, model)


def _train(pairs: Sequence[tuple[str, str]], vocab_size: int) -> bytes:
    stride = -(-len(pairs) // MAX_TRAINING_PAIRS) or 1
    model = io.BytesIO()
    train = partial(
        sentencepiece.SentencePieceTrainer.train,
        sentence_iterator=(text for pair in pairs[::stride] for text in pair),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        character_coverage=CHARACTER_COVERAGE,
        normalization_rule_name="nfkc" if _has_joiners(pairs) else "nmt_nfkc",
        byte_fallback=False,
        pad_id=PAD_ID,
        unk_id=UNK_ID,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        num_threads=1,
        max_sentence_length=1 << 20,
        minloglevel=2,
    )
    interruptible(train)
    return model.getvalue()


def _has_joiners(pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether one pair in a hundred or more has a joiner or non-joiner, which Persian and scripts
    of India write words with: `nmt_nfkc`, which normalises more, makes them spaces.
    """
    num = sum(any(x in text for text in pair for x in _JOINERS) for pair in pairs)
    return num * 100 >= len(pairs)


def trial_lengths(
    pairs: Sequence[tuple[str, str]], vocab_size: int
) -> tuple[int, list[int], list[int]]:
    """Train a model for a trial, of so many tokens or of as many as the pairs yield."""
    try:
        model = _train(pairs, vocab_size)
    except RuntimeError as error:
        bound = _TOO_FEW.search(str(error)) or _TOO_SMALL.search(str(error))
        if bound is None or int(bound[1]) == vocab_size:
            raise ConfigError(_explain(str(error), vocab_size, len(pairs))) from error
        return trial_lengths(pairs, int(bound[1]))
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    sides = (
        [len(row) for row in processor.encode([pair[side] for pair in pairs], out_type=int)]
        for side in (0, 1)
    )
    return vocab_size, next(sides), next(sides)


def train_corpus_tokenizer(data: TaskData, config: TranslationRunConfig, path: Path) -> None:
    """`train_tokenizer` with the training pairs and the vocabulary size of a run file."""
    train_tokenizer(data.train, config.vocab_size, path)


class Tokenizer:
    """A trained SentencePiece model."""

    def __init__(self, path: Path) -> None:
        try:
            content = read_bytes(path, "`mosdeploy train`")
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)
            special = [
                getattr(self._processor, name)()
                for name in ("pad_id", "unk_id", "bos_id", "eos_id")
            ]
        except RuntimeError as error:
            raise StaleInputError(
                f"{path} is no SentencePiece model; delete it and run `mosdeploy train` again"
            ) from error
        if special != [PAD_ID, UNK_ID, BOS_ID, EOS_ID]:
            raise StaleInputError(
                f"{path} has pad, unk, bos, eos at {special}, not at 0 to 3; "
                "run `mosdeploy train` again"
            )
        self._normaliser = Normaliser(self._processor)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without begin and end."""
        return list(self._processor.encode(self._normaliser.normalise(text), out_type=int))

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, in order."""
        normalised = [self._normaliser.normalise(text) for text in texts]
        return list(self._processor.encode(normalised, out_type=int, num_threads=1))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids, with single spaces; special ids vanish, but for the unknown token's
        mark.
        """
        return single_spaced(str(self._processor.decode(list(ids))))


def _explain(message: str, vocab_size: int, num_pairs: int) -> str:
    if match := _TOO_FEW.search(message):
        return (
            f"{num_pairs} training pairs are too few for corpus.vocab_size = {vocab_size}: "
            f"they yield at most {match[1]} tokens; lower vocab_size to {match[1]} or add text"
        )
    if match := _TOO_SMALL.search(message):
        return (
            f"corpus.vocab_size = {vocab_size} is too small: the characters of the corpus alone "
            f"need {match[1]} tokens; raise vocab_size to {match[1]} or more"
        )
    return (
        f"SentencePiece could not train {vocab_size} tokens on {num_pairs} pairs: {message.strip()}"
    )


T = TypeVar("T")


def interruptible(call: Callable[[], T]) -> T:
    """What a call returns, made in a thread of its own: a signal ends the wait for it, while Python
    hears none before the library returns.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()
