"""A language model of one table and its data, for what knows no family.

Shapes: B examples, T positions, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCAB_SIZE = 12
BEGIN = 0
PADDING = -1


class ToyBatch:
    """Each token is predicted from the one before it."""

    def __init__(self, previous: Tensor, targets: Tensor) -> None:
        self.previous = previous  # (B, T)
        self.targets = targets  # (B, T), PADDING after the end
        self.num_targets = int((targets != PADDING).sum())

    def to(self, device: torch.device) -> "ToyBatch":
        return ToyBatch(self.previous.to(device), self.targets.to(device))

    def inputs(self) -> tuple[Tensor, ...]:
        return (self.previous,)

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(
            logits.flatten(0, 1),
            self.targets.flatten(),
            ignore_index=PADDING,
            reduction="sum",
            label_smoothing=label_smoothing,
        )

    def losses(self, logits: Tensor) -> Tensor:
        lost = F.cross_entropy(
            logits.flatten(0, 1), self.targets.flatten(), ignore_index=PADDING, reduction="none"
        )
        return lost.view_as(self.targets).sum(1, dtype=torch.float64)  # (B,)


class ToyDataset:
    """Rows of token ids."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.rows = rows
        self.lengths: npt.NDArray[np.int64] = np.array([len(row) for row in rows], dtype=np.int64)
        self.tie_lengths = self.lengths
        self.num_targets = self.lengths

    @classmethod
    def of(cls, num_rows: int, seed: int = 0) -> "ToyDataset":
        """Rows of 1 to 6 random tokens."""
        rng = np.random.default_rng(seed)
        return cls(
            [rng.integers(1, VOCAB_SIZE, rng.integers(1, 7)).tolist() for _ in range(num_rows)]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: npt.NDArray[np.int64]) -> ToyBatch:
        longest = int(self.lengths[rows].max())
        previous = torch.full((len(rows), longest), BEGIN)
        targets = torch.full((len(rows), longest), PADDING)
        for i, row in enumerate(rows):
            ids = torch.tensor(self.rows[row])
            previous[i, 1 : len(ids)] = ids[:-1]
            targets[i, : len(ids)] = ids
        return ToyBatch(previous, targets)


class ToyModel(nn.Module):
    """Logits (B, T, V) from the previous tokens (B, T)."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(VOCAB_SIZE, VOCAB_SIZE, generator=generator))

    def forward(self, previous: Tensor) -> Tensor:
        return self.table[previous]
