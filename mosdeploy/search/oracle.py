"""What a search needs of architectures: their losses, what they cost, how long they take.

In and out: types only. Whether an answer is computed, read from a cache or predicted is the
caller's choice.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..records import NO_LIMITS, Limits
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
"""From architectures, and an incumbent or None for each, to their losses in the same order. A loss
is None where it is not finite, or where the evaluation stopped early because the architecture was
clearly worse than its incumbent.
"""

CostOf = Callable[[ArchConfig], Cost]
PredictMs = Callable[[GeneArray], FloatArray]


@dataclass(frozen=True)
class SearchOracle:
    """The three questions of a search.

    Attributes
    ----------
    losses
        Validation losses (lower wins). Called once an iteration, with each architecture once in a
        search. The incumbents are such that a worse candidate would neither become a parent or a
        finalist nor enter the front.
    cost
        Weights and bytes of an architecture.
    predict_ms
        Latencies in milliseconds (N,) of a population of gene rows (N, G); needed with a latency
        limit.
    trained_for
        Limits within which losses mean anything: those that the supernet was trained for.
    """

    losses: LossesOf
    cost: CostOf
    predict_ms: PredictMs | None = None
    trained_for: Limits = NO_LIMITS
