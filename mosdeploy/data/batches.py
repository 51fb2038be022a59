"""Datasets, and batches of examples of like length."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, autograd, full_like
from torch.autograd.function import once_differentiable

from ..errors import ConfigError


class Batch(Protocol):
    """Padded examples: what a network is called with, and how its logits are judged."""

    @property
    def num_targets(self) -> int:
        """Number of targets that the losses are sums over."""

    def to(self, device: torch.device) -> Self:
        """Copy to a device."""

    def inputs(self) -> tuple[Tensor, ...]:
        """Positional arguments of the network's forward pass; the first axis of each is B."""

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Sum of the losses of all targets, in nats, as a scalar that can be differentiated."""

    def losses(self, logits: Tensor) -> Tensor:
        """Sum of the losses of each example's targets, in nats, (B,) float64."""


class TeachableBatch(Batch, Protocol):
    """A batch whose targets a network can also learn from another network's distributions."""

    def divergence(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Sum over all targets of the Kullback-Leibler divergence of a network's distribution from
        the teacher's, in nats, as a scalar that can be differentiated.
        """


class Dataset(Protocol):
    """Examples that are made into batches by their row numbers."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Positions that each example takes in a padded batch, (N,)."""

    @property
    def tie_lengths(self) -> npt.NDArray[np.int64]:
        """Lengths by which examples that take the same number of positions are ordered, (N,)."""

    @property
    def num_targets(self) -> npt.NDArray[np.int64]:
        """Targets of each example, (N,)."""

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Pad the examples of these rows into one batch, in this order."""

    def save(self, path: Path) -> None:
        """Write the examples to a file, whole or not at all."""


B = TypeVar("B")


def moved(batch: B, device: torch.device) -> B:
    """Copy a batch's tensors to a device; to a GPU by way of pinned memory, without waiting."""
    if device.type == "cpu":
        return batch
    parts = {name: part for name, part in vars(batch).items() if isinstance(part, Tensor)}
    copies = {k: x.pin_memory().to(device, non_blocking=True) for k, x in parts.items()}
    found: B = replace(cast("Any", batch), **copies)
    return found


VALIDATION_TOKENS = 4096
"""Positions of a batch that is only read, padding included; more where one example has more."""
Rows = npt.NDArray[np.int64]
"""Row numbers of the examples of one batch, (B,)."""


class Batches:
    """An endless sequence of training batches: `batches[step]` for any step from 0."""

    def __init__(self, dataset: Dataset, tokens_per_batch: int, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed
        # of sorted lengths: how an epoch orders examples of one length moves no cut
        self._cuts = _cuts(np.sort(dataset.lengths), tokens_per_batch)
        self._epoch = -1
        self._groups: list[Rows] = []

    def __len__(self) -> int:
        """Batches in one epoch."""
        return len(self._cuts) - 1

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step; the same for the same seed, whatever was asked before."""
        return self._dataset.batch(self._group(step))

    def num_targets(self, step: int) -> int:
        """`num_targets` of the batch of a step, without making it."""
        return int(self._dataset.num_targets[self._group(step)].sum())

    def _group(self, step: int) -> Rows:
        epoch, index = divmod(step, len(self))
        # kept for the steps to come: making an epoch sorts all examples
        if epoch != self._epoch:
            self._groups = self._shuffled(epoch)
            self._epoch = epoch
        return self._groups[index]

    def _shuffled(self, epoch: int) -> list[Rows]:
        # from the epoch's number, so that no earlier epoch has to be drawn first; numpy takes no
        # negative seeds
        rng = np.random.default_rng([self._seed % 2**63, epoch])
        # a jitter of up to two positions: not always the same neighbours share a batch
        ties = self._dataset.tie_lengths + rng.uniform(0, 2, len(self._dataset))
        order = np.lexsort((ties, self._dataset.lengths))  # by length, then by tie
        groups = np.split(order, self._cuts[1:-1])
        return [groups[i] for i in rng.permutation(len(groups))]


def ordered_batches(dataset: Dataset, tokens_per_batch: int = VALIDATION_TOKENS) -> list[Batch]:
    """All examples once, sorted by length, for validation."""
    most = max(tokens_per_batch, int(dataset.lengths.max(initial=0)))
    groups = ordered_groups(dataset, np.arange(len(dataset)), most)
    return [dataset.batch(group) for group in groups]


def ordered_groups(dataset: Dataset, rows: Rows, tokens_per_batch: int) -> list[Rows]:
    """Deal some of the examples to as few batches as hold them, sorted by length."""
    # stable: examples of one length keep their order whichever algorithm numpy sorts with
    order = rows[np.argsort(dataset.lengths[rows], kind="stable")]
    return np.split(order, _cuts(dataset.lengths[order], tokens_per_batch)[1:-1])


def check_has_targets(num_targets: int) -> None:
    """Make sure that there is something to predict in validation examples."""
    if not num_targets:
        raise ConfigError(
            "the tokenizer knows no piece of any validation example: there is nothing to predict; "
            "add other examples, or give a tokenizer that knows their letters"
        )


def _cuts(sorted_lengths: npt.NDArray[np.int64], tokens_per_batch: int) -> npt.NDArray[np.int64]:
    """Cut examples sorted by length into batches: all starts and the end, (batches + 1,)."""
    if not len(sorted_lengths):
        raise ConfigError("there are no examples to make batches of")
    if sorted_lengths[-1] > tokens_per_batch:
        raise ConfigError(
            f"training.tokens_per_batch = {tokens_per_batch} cannot hold the longest example "
            f"({sorted_lengths[-1]} tokens, end included); raise it, or lower max_tokens in the "
            "data's section"
        )
    cuts = [0]
    for i, length in enumerate(sorted_lengths.tolist()):
        # in sorted order the last example is the longest, so this is the padded size, (B, length)
        if (i + 1 - cuts[-1]) * length > tokens_per_batch:
            cuts.append(i)
    return np.array([*cuts, len(sorted_lengths)], dtype=np.int64)


def pad_rows(rows: Sequence[npt.ArrayLike], fill: int = 0, width: int = 0) -> Tensor:
    """Rows of integers as one int64 tensor, (B, longest) or (B, width) if that is wider, filled up
    at the end of each row.
    """
    arrays = [np.asarray(row, dtype=np.int64) for row in rows]
    longest = max(width, *(len(array) for array in arrays))
    padded = np.full((len(arrays), longest), fill, dtype=np.int64)
    for i, array in enumerate(arrays):
        padded[i, : len(array)] = array
    return torch.from_numpy(padded)


def cross_entropy(
    logits: Tensor, targets: Tensor, ignored: int, label_smoothing: float = 0.0
) -> Tensor:
    """Negative log-likelihood of each target, as `torch.nn.functional.cross_entropy`
    computes it.
    """
    apply: Any = _CrossEntropy.apply  # torch gives it no types
    losses: Tensor = apply(logits, targets, ignored, label_smoothing)
    return losses


class _CrossEntropy(autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, ignored: int, label_smoothing: float
    ) -> Tensor:
        log_p = logits.log_softmax(-1)  # (N, V)
        is_ignored = targets == ignored  # (N,)
        places = targets.masked_fill(is_ignored, 0)[:, None]  # (N, 1)
        losses = (label_smoothing - 1) * log_p.gather(1, places)[:, 0]
        if label_smoothing:
            losses = losses - label_smoothing * log_p.mean(-1)
        ctx.save_for_backward(log_p, places, is_ignored)
        ctx.label_smoothing = label_smoothing
        return losses.masked_fill(is_ignored, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        log_p, places, is_ignored = ctx.saved_tensors
        share = ctx.label_smoothing
        # p less the smoothed target, in place
        found = log_p.exp_()
        if share:
            found.sub_(share / found.shape[1])
        found.scatter_add_(1, places, full_like(places, share - 1, dtype=found.dtype))
        found.mul_(gradient.masked_fill(is_ignored, 0.0)[:, None])
        return found, None, None, None


@dataclass(frozen=True)
class Ragged:
    """Rows of integers, end to end: row i is `flat[offsets[i] : offsets[i + 1]]`."""

    flat: npt.NDArray[np.int32]  # (total,)
    offsets: npt.NDArray[np.int64]  # (rows + 1,)

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | npt.NDArray[np.int64]]) -> "Ragged":
        """Pack rows."""
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *parts]), offsets)

    @classmethod
    def concatenate(cls, blocks: Sequence["Ragged"]) -> "Ragged":
        """Put blocks of rows after one another."""
        lengths = np.concatenate([np.zeros(1, np.int64), *(block.lengths for block in blocks)])
        flat = np.concatenate([np.empty(0, np.int32), *(block.flat for block in blocks)])
        return cls(flat, np.cumsum(lengths))

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of each row, (rows,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]
