"""Padded batches of token ids.

In: sentence pairs and a `Tokenizer`. Out: `Batch` records of bounded size, the same ones for the
same seed. This file knows no network.

Shapes: B sentences, S source positions, T target positions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import ConfigError
from ...storage import disk_errors
from .tokenizer import BOS_ID, EOS_ID, PAD_ID, Tokenizer

_CHUNK = 65_536  # pairs tokenised at a time


@dataclass(frozen=True)
class Batch:
    """One padded batch, int64; `num_tokens` counts target positions that are not padding."""

    src: Tensor  # (B, S) pieces, end
    prev: Tensor  # (B, T) begin, pieces
    target: Tensor  # (B, T) pieces, end
    num_tokens: int

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device; to a GPU by way of pinned memory, without waiting."""
        if device.type == "cpu":
            return self
        src, prev, target = (
            part.pin_memory().to(device, non_blocking=True)
            for part in (self.src, self.prev, self.target)
        )
        return Batch(src, prev, target, self.num_tokens)


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, end to end: row i is flat[offsets[i] : offsets[i + 1]]."""

    flat: npt.NDArray[np.int32]  # (total,)
    offsets: npt.NDArray[np.int64]  # (rows + 1,)

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> "Ragged":
        """Pack rows."""
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *parts]), offsets)

    @classmethod
    def concatenate(cls, blocks: Sequence["Ragged"]) -> "Ragged":
        """Put blocks of rows after one another."""
        lengths = [block.lengths for block in blocks]
        offsets = np.concatenate(
            [[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))]
        ).astype(np.int64)
        return cls(
            np.concatenate([np.empty(0, np.int32), *(block.flat for block in blocks)]), offsets
        )

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of each row, (rows,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class TokenizedPairs:
    """Piece ids of sentence pairs, without begin and end.

    Attributes
    ----------
    num_too_long
        Pairs left out because a side has more than `max_tokens` pieces.
    """

    sources: Ragged
    targets: Ragged
    num_too_long: int

    def __len__(self) -> int:
        return len(self.sources)

    def save(self, path: Path) -> None:
        """Write one int32 array: the number of pairs, the lengths of sources and of targets, and
        the ids of both.

        Raises
        ------
        MosdeployError
            If the disk is full or read-only.
        """
        both = (self.sources, self.targets)
        parts = [
            np.array([len(self)]),
            *(side.lengths for side in both),
            *(side.flat for side in both),
        ]
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            shape = (sum(len(part) for part in parts),)
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.int32, shape=shape)
            np.concatenate(parts, out=array, casting="unsafe")
            array.flush()
            partial.replace(path)

    @classmethod
    def open(cls, path: Path) -> "TokenizedPairs":
        """Read what `save` wrote, as it is needed: the ids stay in the file, which the processes of
        a machine share.
        """
        array = np.load(path, mmap_mode="r")
        num = int(array[0])
        offsets = [
            np.concatenate([[0], np.cumsum(x, dtype=np.int64)])
            for x in np.split(array[1 : 2 * num + 1], 2)
        ]
        start, middle = 2 * num + 1, 2 * num + 1 + int(offsets[0][-1])
        return cls(Ragged(array[start:middle], offsets[0]), Ragged(array[middle:], offsets[1]), 0)

    @cached_property
    def widths(self) -> npt.NDArray[np.int64]:
        """Positions that each pair takes on its longer side, end included, (pairs,)."""
        return np.maximum(self.sources.lengths, self.targets.lengths) + 1


def tokenize(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], max_tokens: int
) -> TokenizedPairs:
    """Turn pairs into piece ids and leave out, counted, those with more than `max_tokens` pieces on
    a side.

    Raises
    ------
    ConfigError
        If no pair is left.
    """
    sources: list[Ragged] = []
    targets: list[Ragged] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        source_rows = tokenizer.encode_many([source for source, _ in chunk])
        target_rows = tokenizer.encode_many([target for _, target in chunk])
        both = zip(source_rows, target_rows, strict=True)
        kept = [
            (source, target)
            for source, target in both
            if max(len(source), len(target)) <= max_tokens
        ]
        sources.append(Ragged.of(source for source, _ in kept))
        targets.append(Ragged.of(target for _, target in kept))
    packed = Ragged.concatenate(sources)
    if not len(packed):
        raise ConfigError(
            f"none of {len(pairs)} pairs has at most corpus.max_tokens = {max_tokens} pieces a side; raise max_tokens"
        )
    return TokenizedPairs(packed, Ragged.concatenate(targets), len(pairs) - len(packed))


class Batches:
    """An endless sequence of training batches: `batches[step]` for any step from 0.

    Pairs of like length share a batch, so little is padding: each epoch sorts the pairs by their
    longer side, then by a jittered source length, cuts where B times the longest side would pass
    `tokens_per_batch`, and shuffles the batches. The cuts depend on the longer sides alone, so
    every epoch has the same number of batches and any step is found at once: a resumed run sees
    what the undisturbed run would have seen.

    Parameters
    ----------
    tokens_per_batch
        Upper bound of B * max(S, T), padding included.

    Raises
    ------
    ConfigError
        If one pair alone is longer than a batch, or there are no pairs.
    """

    def __init__(self, pairs: TokenizedPairs, tokens_per_batch: int, seed: int) -> None:
        self._pairs, self._seed = pairs, seed
        self._cuts = _cuts(np.sort(pairs.widths), tokens_per_batch)
        self._epoch = -1
        self._groups: list[npt.NDArray[np.int64]] = []

    def __len__(self) -> int:
        """Batches in one epoch."""
        return len(self._cuts) - 1

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step; the same for the same seed, whatever was asked before."""
        return pad(self._pairs, self._group(step))

    def num_tokens(self, step: int) -> int:
        """`num_tokens` of the batch of a step, without making it."""
        group = self._group(step)
        return int(self._pairs.targets.lengths[group].sum()) + len(group)

    def _group(self, step: int) -> npt.NDArray[np.int64]:
        epoch, index = divmod(step, len(self))
        if epoch != self._epoch:
            self._epoch, self._groups = epoch, self._shuffled(epoch)
        return self._groups[index]

    def _shuffled(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        rng = np.random.default_rng([self._seed % 2**63, epoch])
        source_lengths = self._pairs.sources.lengths + rng.uniform(0, 2, len(self._pairs))
        order = np.lexsort((source_lengths, self._pairs.widths))
        groups = np.split(order, self._cuts[1:-1])
        return [groups[i] for i in rng.permutation(len(groups))]


def ordered_batches(pairs: TokenizedPairs, tokens_per_batch: int) -> list[Batch]:
    """All pairs once, sorted by length, for validation.

    Raises
    ------
    ConfigError
        If one pair alone is longer than a batch, or there are no pairs.
    """
    return [
        pad(pairs, group)
        for group in ordered_groups(pairs, np.arange(len(pairs)), tokens_per_batch)
    ]


def ordered_groups(
    pairs: TokenizedPairs, rows: npt.NDArray[np.int64], tokens_per_batch: int
) -> list[npt.NDArray[np.int64]]:
    """Deal some of the pairs to as few batches as hold them, sorted by length; `pad` makes a batch
    of each group.

    Raises
    ------
    ConfigError
        If one pair alone is longer than a batch, or there are no pairs.
    """
    order = rows[np.argsort(pairs.widths[rows], kind="stable")]
    return np.split(order, _cuts(pairs.widths[order], tokens_per_batch)[1:-1])


def pad_rows(rows: Sequence[npt.ArrayLike]) -> Tensor:
    """Rows of ids as one (B, longest) int64 tensor, padded at the end."""
    arrays = [np.asarray(row, dtype=np.int64) for row in rows]
    padded = np.full((len(arrays), max(len(array) for array in arrays)), PAD_ID, dtype=np.int64)
    for i, array in enumerate(arrays):
        padded[i, : len(array)] = array
    return torch.from_numpy(padded)


def pad(pairs: TokenizedPairs, group: npt.NDArray[np.int64]) -> Batch:
    """Put the pairs of a group into one batch, in order."""
    sources = [pairs.sources[i] for i in group]
    targets = [pairs.targets[i] for i in group]
    return Batch(
        src=pad_rows([np.append(row, EOS_ID) for row in sources]),  # (B, S)
        prev=pad_rows([np.insert(row, 0, BOS_ID) for row in targets]),  # (B, T)
        target=pad_rows([np.append(row, EOS_ID) for row in targets]),  # (B, T)
        num_tokens=sum(len(row) + 1 for row in targets),
    )


def _cuts(sorted_widths: npt.NDArray[np.int64], tokens_per_batch: int) -> npt.NDArray[np.int64]:
    """Where batches start among pairs sorted by width, and the end: shape (batches + 1,)."""
    if not len(sorted_widths):
        raise ConfigError("there are no sentence pairs to make batches of")
    if sorted_widths[-1] > tokens_per_batch:
        raise ConfigError(
            f"training.tokens_per_batch = {tokens_per_batch} cannot hold the longest sentence "
            f"({sorted_widths[-1]} tokens, end included); raise it, or lower corpus.max_tokens"
        )
    cuts = [0]
    for i, width in enumerate(sorted_widths.tolist()):
        if (i + 1 - cuts[-1]) * width > tokens_per_batch:
            cuts.append(i)
    return np.array([*cuts, len(sorted_widths)], dtype=np.int64)
