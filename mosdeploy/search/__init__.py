"""Evolutionary search under limits: candidates, the Pareto front, finalists and the winner."""

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
