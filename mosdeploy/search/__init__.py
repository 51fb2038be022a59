"""Evolutionary search under limits: candidates, the Pareto front, finalists and the winner."""

from .constraints import Cost, SearchOracle
from .evolution import Iteration, evolve
from .front import (
    Evolution,
    best_first,
    choose_winner,
    finalists,
    is_safe,
    pareto_front,
    quality,
    with_winner,
)
from .refine import add_layers, widen_ffn

__all__ = [
    "Cost",
    "Evolution",
    "Iteration",
    "SearchOracle",
    "add_layers",
    "best_first",
    "choose_winner",
    "evolve",
    "finalists",
    "is_safe",
    "pareto_front",
    "quality",
    "widen_ffn",
    "with_winner",
]
