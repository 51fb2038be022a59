"""Limits: which of them an architecture breaks, and a first architecture that breaks none."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config.units import told_limit
from ..errors import ConfigError, InfeasibleError
from ..printable import LEAST, quantity
from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, GeneArray, SearchSpace

NUM_PROBES = 2000
"""Random architectures that are looked at when the smallest one breaks a limit."""
NUM_LOCAL_SEARCHES = 4
"""How many of the best probes a local search starts from."""
MAX_STEPS = 200
"""Steps of one local search."""

PREDICTED = {"max_latency_ms", "max_memory_bytes"}
"""Limits of what is predicted for an architecture; all else is counted."""

Objective = Callable[[ArchConfig], float]
FloatArray = npt.NDArray[np.float64]
LossesOf = Callable[[Sequence[ArchConfig]], Iterable[float | None]]
"""Losses of architectures, in order; None for a loss that is not finite."""


@dataclass(frozen=True)
class Cost:
    """What an architecture costs besides time: weights, bytes of the bundle, weights without those
    of the embedding table, and bytes of memory.
    """

    num_parameters: int
    size_bytes: int
    num_body_parameters: int
    memory_bytes: int


@dataclass(frozen=True)
class SearchOracle:
    """What a search asks of architectures: their losses, their costs and their latencies.

    `time_loss` is the part of the losses for the time of training steps, if they have one.
    """

    losses: LossesOf
    cost: Callable[[ArchConfig], Cost]
    predict_ms: Callable[[GeneArray], FloatArray] | None = None
    time_loss: Callable[[ArchConfig], float] | None = None


class ConstraintTable:
    """Latencies and costs of architectures, computed once each and only when asked for."""

    def __init__(self, space: SearchSpace, limits: Limits, oracle: SearchOracle) -> None:
        if limits.max_latency_ms is not None and oracle.predict_ms is None:
            raise ConfigError(
                "a latency limit needs a latency predictor; "
                "run `mosdeploy profile` and `mosdeploy fit` first"
            )
        self.space = space
        self.limits = limits
        # the size in bytes is found by building a graph, and each check of the limits asks for it
        self._cost = functools.cache(oracle.cost)
        self._costs_count = limits.model_copy(update={"max_latency_ms": None}) != Limits()
        self._predict_ms = oracle.predict_ms
        self._time_loss = oracle.time_loss
        self._latency_ms: dict[ArchConfig, float | None] = {}

    def prefetch(self, archs: Iterable[ArchConfig]) -> None:
        """Predict latencies together: one call of the predictor for all that are new."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self._latency_ms]
        if not new:
            return
        latency: list[float | None] = [None] * len(new)
        if self._predict_ms is not None:
            latency = self._predict_ms(self.space.genes(new)).tolist()
        self._latency_ms.update(zip(new, latency, strict=True))

    def latency_ms(self, arch: ArchConfig) -> float | None:
        """Predicted latency; None without a predictor."""
        if arch not in self._latency_ms:
            self.prefetch([arch])
        return self._latency_ms[arch]

    def objective(self, arch: ArchConfig) -> float:
        """Return what the front weighs against the loss: latency, or without one weights."""
        latency_ms = self.latency_ms(arch)
        return self._cost(arch).num_parameters if latency_ms is None else latency_ms

    def utilisation(self, arch: ArchConfig) -> dict[str, float]:
        """Each limited quantity as a share of its limit, by the name of the limit."""
        cost = self._cost(arch) if self._costs_count else None
        return utilisation(self.limits, self.latency_ms(arch), cost)

    def violation(self, arch: ArchConfig) -> float:
        """Sum of the shares by which an architecture exceeds its limits; 0 within all of them."""
        # shares of the limits: milliseconds, weights and bytes could not be added up
        return sum(max(share - 1.0, 0.0) for share in self.utilisation(arch).values())

    def candidate(self, arch: ArchConfig, loss: float) -> Candidate:
        """The record of an architecture with its loss, latency and cost."""
        return Candidate(
            arch=arch,
            loss=loss,
            predicted_ms=self.latency_ms(arch),
            **vars(self._cost(arch)),
            time_loss=None if self._time_loss is None else self._time_loss(arch),
        )


def utilisation(
    limits: Limits, latency_ms: float | None, cost: Cost | Candidate | None
) -> dict[str, float]:
    """Each limited quantity that is known as a share of its limit, by the name of the limit."""
    spent: dict[str, float | None] = {"max_latency_ms": latency_ms}
    if cost is not None:
        spent["max_parameters"] = cost.num_parameters
        spent["max_body_parameters"] = cost.num_body_parameters
        spent["max_size_bytes"] = cost.size_bytes
        spent["max_memory_bytes"] = cost.memory_bytes
    asked = {name: getattr(limits, name) for name in spent}
    return {
        name: value / asked[name]
        for name, value in spent.items()
        if value is not None and asked[name] is not None
    }


def find_feasible(constraints: ConstraintTable, rng: np.random.Generator) -> ArchConfig:
    """Find an architecture within the limits: the smallest, or else one that a local search from
    random probes reaches.
    """
    smallest = constraints.space.smallest
    if constraints.violation(smallest) == 0.0:
        return smallest
    # the smallest network need not be the fastest on every device
    probes = [smallest, *(constraints.space.sample(rng) for _ in range(NUM_PROBES))]
    constraints.prefetch(probes)
    # by the sum over all limits: a step may give up a little of one for more of another
    nearest = local_search(constraints, probes, constraints.violation)
    if constraints.violation(nearest) == 0.0:
        return nearest
    raise _infeasible(constraints, probes)


def _infeasible(constraints: ConstraintTable, probes: list[ArchConfig]) -> InfeasibleError:
    """The error that names each limit, and the least of its quantity that a search for it finds."""

    def share(name: str, arch: ArchConfig) -> float:
        return constraints.utilisation(arch)[name]

    limits = constraints.limits
    least: dict[str, float] = {}
    for name in constraints.utilisation(constraints.space.smallest):
        # one quantity at a time: the least of each may be those of different architectures
        best = local_search(constraints, probes, functools.partial(share, name))
        least[name] = share(name, best) * getattr(limits, name)
    # a share of a limit is off by what floats are, which must not be rounded up
    told = {name: quantity(name, value * (1 - 1e-12), LEAST) for name, value in least.items()}
    found = [
        f"{told_limit(name, getattr(limits, name))} "
        f"(least {'predicted' if name in PREDICTED else 'found'}: {text})"
        for name, text in told.items()
    ]
    return InfeasibleError(
        f"no architecture of the space keeps {' and '.join(found)}"
        + (" together" if len(found) > 1 else "")
        + "; raise the limit or give [space] smaller choices",
        fastest_latency_ms=least.get("max_latency_ms"),
    )


def local_search(
    constraints: ConstraintTable, probes: list[ArchConfig], objective: Objective
) -> ArchConfig:
    """The architecture of lowest objective that is reached from the best few probes by changing one
    gene at a time, each time to the best neighbour.
    """

    def order(arch: ArchConfig) -> tuple[float, str]:
        # of equal ones the same one in every run
        return objective(arch), arch.key

    reached = []
    for arch in sorted(dict.fromkeys(probes), key=order)[:NUM_LOCAL_SEARCHES]:
        here = arch
        for _ in range(MAX_STEPS):
            neighbours = neighbours_of(constraints.space, here)
            constraints.prefetch(neighbours)
            lowest = min(neighbours, key=order, default=here)
            # strictly lower, or the search would go to and fro between equal neighbours
            if objective(lowest) >= objective(here):
                break
            here = lowest
        reached.append(here)
    return min(reached, key=order)


def neighbours_of(space: SearchSpace, arch: ArchConfig) -> list[ArchConfig]:
    """Every architecture that differs in one gene; an added layer is as small as it can be."""
    row = space.to_genes(arch)
    # a zero (no such layer) becomes the smallest choice, a value that was cut short the next one up
    full = [
        choices[min(int(np.searchsorted(choices, value)), len(choices) - 1)]
        for choices, value in zip(space.gene_choices, row, strict=True)
    ]
    found: dict[ArchConfig, None] = {}
    for i, choices in enumerate(space.gene_choices):
        # a column of a layer that does not exist changes nothing
        for value in choices if row[i] else ():
            found[space.from_genes([*full[:i], value, *full[i + 1 :]])] = None
    # each gene's present value gives the architecture itself
    found.pop(arch, None)
    return list(found)
