"""Sentence pairs as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...config.translation import TranslationRunConfig
from ...data.ragged import Ragged
from ...errors import ConfigError
from ...storage import atomic_file
from .tokenizer import EOS_ID, Tokenizer

if TYPE_CHECKING:
    from .batch import TranslationBatch

_CHUNK = 65_536  # pairs tokenised at a time


@dataclass(frozen=True)
class TranslationDataset:
    """Token ids of sentence pairs, without begin and end."""

    sources: Ragged
    targets: Ragged

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Positions that each pair takes on its longer side, end included, (N,)."""
        return np.maximum(self.sources.lengths, self.targets.lengths) + 1

    @property
    def tie_lengths(self) -> npt.NDArray[np.int64]:
        """Source tokens of each pair, (N,): of pairs of one length, like sources stand together."""
        return self.sources.lengths

    @cached_property
    def num_targets(self) -> npt.NDArray[np.int64]:
        """Target tokens of each pair, end included, (N,)."""
        return self.targets.lengths + 1

    def batch(self, rows: npt.NDArray[np.int64]) -> "TranslationBatch":
        """Pad the pairs of these rows into one batch, in this order."""
        from .batch import TranslationBatch

        return TranslationBatch.of([self.sources[i] for i in rows], [self.targets[i] for i in rows])

    def save(self, path: Path) -> None:
        """Write one int32 array: the number of pairs, the lengths of sources and of targets, and
        the ids of both.
        """
        sides = (self.sources, self.targets)
        lengths = [side.lengths for side in sides]
        parts = [np.array([len(self)]), *lengths, *(side.flat for side in sides)]
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.int32)),
            "fortran_order": False,
            "shape": (sum(len(part) for part in parts),),
        }
        # not through a memory map: a disk that is full would end the process with SIGBUS
        with atomic_file(path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part, dtype=np.int32).data)

    @classmethod
    def open(cls, path: Path) -> "TranslationDataset":
        """Read what `save` wrote, as it is needed: the ids stay in the file, which the processes of
        a machine share.
        """
        array = np.load(path, mmap_mode="r")
        num_pairs = int(array[0])
        offsets = [
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            for lengths in np.split(array[1 : 2 * num_pairs + 1], 2)
        ]
        start = 2 * num_pairs + 1
        middle = start + int(offsets[0][-1])
        return cls(Ragged(array[start:middle], offsets[0]), Ragged(array[middle:], offsets[1]))


def tokenize(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], max_tokens: int
) -> TranslationDataset:
    """Turn pairs into token ids and leave out those with more than `max_tokens` tokens on a
    side.
    """
    sources: list[Ragged] = []
    targets: list[Ragged] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        source_rows = tokenizer.encode_many([source for source, _ in chunk])
        target_rows = tokenizer.encode_many([target for _, target in chunk])
        kept = [
            (source, target)
            for source, target in zip(source_rows, target_rows, strict=True)
            if max(len(source), len(target)) <= max_tokens
        ]
        sources.append(Ragged.of(source for source, _ in kept))
        targets.append(Ragged.of(target for _, target in kept))
    packed = Ragged.concatenate(sources)
    if not len(packed):
        raise ConfigError(
            f"none of {len(pairs)} pairs has at most corpus.max_tokens = {max_tokens} tokens a "
            "side; raise max_tokens"
        )
    return TranslationDataset(packed, Ragged.concatenate(targets))


def tokenize_pairs(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], config: TranslationRunConfig
) -> TranslationDataset:
    """`tokenize` with the limit of a run file."""
    return tokenize(tokenizer, pairs, config.max_tokens)


def made_up_pairs(config: TranslationRunConfig) -> TranslationDataset:
    """`made_up_dataset` with sentences as long as the workload's, as far as training takes them."""
    num_tokens = min(config.workload.source_len, config.max_tokens)
    return made_up_dataset(config.vocab_size, num_tokens, config.training.tokens_per_batch)


def made_up_dataset(vocab_size: int, num_tokens: int, tokens_per_batch: int) -> TranslationDataset:
    """One full batch of random pairs, always the same, for trials of what a training costs."""
    rng = np.random.default_rng(0)
    num_pairs = max(1, tokens_per_batch // (num_tokens + 1))
    sides = rng.integers(EOS_ID + 1, vocab_size, (2, num_pairs, num_tokens))
    return TranslationDataset(Ragged.of(sides[0]), Ragged.of(sides[1]))
