"""Rows of different lengths, padded to a rectangle."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


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
