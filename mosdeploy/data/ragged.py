"""Rows of different lengths: packed end to end, and padded to a rectangle."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """Rows of integers, end to end: row i is `flat[offsets[i] : offsets[i + 1]]`.

    Examples
    --------
    >>> rows = Ragged.of([[5, 6], [7]])
    >>> rows.lengths.tolist(), rows[0].tolist()
    ([2, 1], [5, 6])
    """

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
