"""What training and evaluation ask of data: examples with lengths, and padded batches with a
loss.
"""

from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Batch(Protocol):
    """Padded examples: what a network is called with, and how its logits are judged."""

    @property
    def num_targets(self) -> int:
        """How many targets the losses are sums over."""

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
