"""What a search needs of architectures: their losses, what they cost, how long they take."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..spaces.genes import ArchConfig, GeneArray

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """What an architecture costs besides time: weights, bytes of the bundle, weights without those
    of the embedding table, and bytes of memory.
    """

    num_parameters: int
    size_bytes: int
    num_body_parameters: int
    memory_bytes: int


LossesOf = Callable[[Sequence[ArchConfig], Sequence[ArchConfig | None]], Iterable[float | None]]
"""From architectures, and an incumbent or None for each, to their losses in the same order."""

CostOf = Callable[[ArchConfig], Cost]
PredictMs = Callable[[GeneArray], FloatArray]


@dataclass(frozen=True)
class SearchOracle:
    """The three questions of a search."""

    losses: LossesOf
    cost: CostOf
    predict_ms: PredictMs | None = None
