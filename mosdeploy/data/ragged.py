"""Rows of different lengths, packed end to end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


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
