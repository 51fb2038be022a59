"""Evolutionary search under limits: candidates, the Pareto front, finalists and the winner.

In: a search space, limits, and a `SearchOracle` of callables that judge architectures. Out: an
`Evolution`; from it the few candidates to measure on the device; from those, once measured, the
winner. This package uses no network, no device and no predictor, and writes nothing: a search that
was killed is run again with cached losses and takes the same way, since the seed and the callables
decide everything.
"""

from .deepening import with_deeper
from .evolution import Evolution, SearchProgress, evolve
from .finalists import (
    choose_winner,
    finalists,
    finalists_to_train,
    is_safe,
    largest_of_each_depth,
)
from .front import pareto_front, with_winner
from .oracle import Cost, SearchOracle
from .quality import best_first, inherited_quality, quality, size_of
from .surrogate import evolve_predicted
from .widening import with_wider

__all__ = [
    "Cost",
    "Evolution",
    "SearchOracle",
    "SearchProgress",
    "best_first",
    "choose_winner",
    "evolve",
    "evolve_predicted",
    "finalists",
    "finalists_to_train",
    "inherited_quality",
    "is_safe",
    "largest_of_each_depth",
    "pareto_front",
    "quality",
    "size_of",
    "with_deeper",
    "with_wider",
    "with_winner",
]
