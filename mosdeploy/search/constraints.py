"""What candidates cost, which limits they break, and a first one that breaks none.

In: a space, limits, and callables that objective an architecture. Out: latencies and costs,
computed once each; an architecture within the limits, or the error that names the least found of
what is limited.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, InfeasibleError
from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, GeneArray, SearchSpace

PROBES, LOCAL_SEARCHES, MAX_STEPS = 2000, 4, 200
"""When the smallest subnet breaks a limit: random probes, descents from the best of them, steps a
descent.
"""

PredictMs = Callable[[GeneArray], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Cost:
    """What an architecture costs besides time: weights, and bytes of the bundle."""

    num_parameters: int
    size_bytes: int


CostOf = Callable[[ArchConfig], Cost]


class ConstraintTable:
    """Latency and cost of architectures, computed once each and only when asked for, and which
    limits they break.

    Raises
    ------
    ConfigError
        For a latency limit without `predict_ms`.
    """

    def __init__(
        self, space: SearchSpace, limits: Limits, cost: CostOf, predict_ms: PredictMs | None
    ) -> None:
        if limits.max_latency_ms is not None and predict_ms is None:
            raise ConfigError(
                "a latency limit needs a latency predictor; run `mosdeploy profile` and `mosdeploy fit` first"
            )
        self.space, self.limits = space, limits
        self._cost, self._predict_ms = functools.cache(cost), predict_ms
        self._latency_ms: dict[ArchConfig, float | None] = {}

    def prefetch(self, archs: Iterable[ArchConfig]) -> None:
        """Time architectures together: one call of the predictor for all that are new."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self._latency_ms]
        if not new:
            return
        latency: list[float | None] = [None] * len(new)
        if self._predict_ms is not None:
            latency = self._predict_ms(self.space.genes(new)).tolist()
        self._latency_ms.update(zip(new, latency, strict=True))

    def latency_ms(self, arch: ArchConfig) -> float | None:
        if arch not in self._latency_ms:
            self.prefetch([arch])
        return self._latency_ms[arch]

    def objective(self, arch: ArchConfig) -> float:
        """What the front weighs against the loss: latency, or without a predictor the number of
        weights.
        """
        latency_ms = self.latency_ms(arch)
        return self._cost(arch).num_parameters if latency_ms is None else latency_ms

    def utilisation(self, arch: ArchConfig) -> dict[str, float]:
        """Each limited quantity as a share of its limit."""
        unlimited = self.limits.max_parameters is None and self.limits.max_size_bytes is None
        return utilisation(
            self.limits, self.latency_ms(arch), None if unlimited else self._cost(arch)
        )

    def violation(self, arch: ArchConfig) -> float:
        """How far an architecture is above the limits, summed; 0 within all of them."""
        return sum(max(share - 1.0, 0.0) for share in self.utilisation(arch).values())

    def candidate(self, arch: ArchConfig, loss: float) -> Candidate:
        cost = self._cost(arch)
        return Candidate(
            arch=arch,
            loss=loss,
            predicted_ms=self.latency_ms(arch),
            num_parameters=cost.num_parameters,
            size_bytes=cost.size_bytes,
        )


def utilisation(limits: Limits, latency_ms: float | None, cost: Cost | None) -> dict[str, float]:
    shares: dict[str, float] = {}
    if limits.max_latency_ms is not None and latency_ms is not None:
        shares["max_latency_ms"] = latency_ms / limits.max_latency_ms
    if limits.max_parameters is not None and cost is not None:
        shares["max_parameters"] = cost.num_parameters / limits.max_parameters
    if limits.max_size_bytes is not None and cost is not None:
        shares["max_size_bytes"] = cost.size_bytes / limits.max_size_bytes
    return shares


def find_feasible(constraints: ConstraintTable, rng: np.random.Generator) -> ArchConfig:
    """An architecture within the limits: the smallest, or what a search for one finds.

    Raises
    ------
    InfeasibleError
        If there is none to be found; with the least of each quantity that is limited.
    """
    smallest = constraints.space.smallest
    if constraints.violation(smallest) == 0.0:
        return smallest
    probes = [smallest, *(constraints.space.sample(rng) for _ in range(PROBES))]
    constraints.prefetch(probes)
    nearest = _local_search(constraints, probes, constraints.violation)
    if constraints.violation(nearest) == 0.0:
        return nearest
    least: dict[str, float] = {}
    for name in constraints.utilisation(smallest):
        best = _local_search(
            constraints, probes, lambda arch, name=name: constraints.utilisation(arch)[name]
        )  # type: ignore[misc]
        least[name] = constraints.utilisation(best)[name] * getattr(constraints.limits, name)
    found = [
        f"{name} = {getattr(constraints.limits, name):.6g} (least found: {value:.6g})"
        for name, value in least.items()
    ]
    raise InfeasibleError(
        f"no architecture of the space keeps {' and '.join(found)}"
        + (" together" if len(found) > 1 else "")
        + "; raise the limit or give [space] smaller choices",
        fastest_latency_ms=least.get("max_latency_ms"),
    )


def _local_search(
    constraints: ConstraintTable, probes: list[ArchConfig], objective: Callable[[ArchConfig], float]
) -> ArchConfig:
    """The lowest point reached from the lowest few probes by changing one gene at a time."""
    reached = []
    for arch in sorted(dict.fromkeys(probes), key=lambda a: (objective(a), a.key))[:LOCAL_SEARCHES]:
        here = arch
        for _ in range(MAX_STEPS):
            neighbours = _neighbours(constraints.space, here)
            constraints.prefetch(neighbours)
            lowest = min(neighbours, key=lambda a: (objective(a), a.key), default=here)
            if objective(lowest) >= objective(here):
                break
            here = lowest
        reached.append(here)
    return min(reached, key=lambda a: (objective(a), a.key))


def _neighbours(space: SearchSpace, arch: ArchConfig) -> list[ArchConfig]:
    """Every architecture that differs in one gene; a layer that comes into being is as small as it
    can be.
    """
    row = space.to_genes(arch)
    full = [
        choices[min(int(np.searchsorted(choices, v)), len(choices) - 1)]
        for choices, v in zip(space.gene_choices, row, strict=True)
    ]
    found: dict[ArchConfig, None] = {}
    for i, choices in enumerate(space.gene_choices):
        for value in choices if row[i] else ():
            found[space.from_genes([*full[:i], value, *full[i + 1 :]])] = None
    found.pop(arch, None)
    return list(found)
