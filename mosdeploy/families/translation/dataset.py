"""Sentence pairs as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.translation import TranslationRunConfig
from ...data.batches import Ragged, cross_entropy, moved, pad_rows
from ...errors import ConfigError
from ...storage import atomic_file
from .tokenizer import BOS_ID, EOS_ID, PAD_ID, Tokenizer


@dataclass(frozen=True)
class TranslationBatch:
    """One padded batch, int64; `num_targets` counts target positions that are not padding."""

    src: Tensor  # (B, S) tokens, end
    prev: Tensor  # (B, T) begin, tokens
    target: Tensor  # (B, T) tokens, end
    num_targets: int

    @classmethod
    def of(
        cls, sources: Sequence[npt.NDArray[np.int32]], targets: Sequence[npt.NDArray[np.int32]]
    ) -> "TranslationBatch":
        """Pad pairs of token ids without begin and end."""
        return cls(
            src=pad_rows([np.append(row, EOS_ID) for row in sources], PAD_ID),  # (B, S)
            prev=pad_rows([np.insert(row, 0, BOS_ID) for row in targets], PAD_ID),  # (B, T)
            target=pad_rows([np.append(row, EOS_ID) for row in targets], PAD_ID),  # (B, T)
            num_targets=sum(len(row) + 1 for row in targets),
        )

    def to(self, device: torch.device) -> "TranslationBatch":
        """Copy to a device."""
        return moved(self, device)

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Source ids (B, S) and earlier target ids (B, T)."""
        return self.src, self.prev

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Negative log-likelihood of all target tokens, in nats, summed, from logits (B, T, V)."""
        return self._nats(logits, label_smoothing).sum()

    def losses(self, logits: Tensor) -> Tensor:
        """Negative log-likelihood of each pair, in nats, (B,) float64, from logits (B, T, V)."""
        nats = self._nats(logits, 0.0).view_as(self.target)
        return nats.sum(1, dtype=torch.float64)  # (B,)

    def _nats(self, logits: Tensor, label_smoothing: float) -> Tensor:
        """Of each position, (B * T,); 0 at padding."""
        flat = logits.flatten(0, 1).float()  # (B * T, V)
        return cross_entropy(flat, self.target.flatten(), PAD_ID, label_smoothing)

    def divergence(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the teacher's distributions of all target tokens, in
        nats, summed, from logits (B, T, V) of both.
        """
        counts = self.target != PAD_ID  # (B, T)
        log_p = logits[counts].float().log_softmax(-1)  # (targets, V)
        teacher_log_p = teacher_logits[counts].float().log_softmax(-1)  # (targets, V)
        return F.kl_div(log_p, teacher_log_p, reduction="sum", log_target=True)


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

    def batch(self, rows: npt.NDArray[np.int64]) -> TranslationBatch:
        """Pad the pairs of these rows into one batch, in this order."""
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
