"""Candidates under limits: the evolution, the front, the finalists and the winner.

In: a space, limits, and callables that objective architectures (`predict_ms`, `cost`, `losses`).
Out: an `Evolution`; from it the few subnets to measure on the device; from those, measured, the
winner. This room knows no network, no device and no predictor, and writes nothing: a search that
was killed is run again with the losses that it had paid for (losses.py), and takes the same way.
"""

from .constraints import Cost
from .evolution import Evolution, Progress, evolve, pareto_front
from .finalists import choose_winner, finalists
from .surrogate import evolve_predicted

__all__ = [
    "Cost",
    "Evolution",
    "Progress",
    "choose_winner",
    "evolve",
    "evolve_predicted",
    "finalists",
    "pareto_front",
]
