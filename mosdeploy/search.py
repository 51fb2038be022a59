"""Candidates under limits: the evolution, the front, the finalists and the winner.

In: a space, limits, and callables that price an architecture (`predict_ms`, `cost`, `loss`). Out: an `Evolution`; from
it the few subnets to measure on the device; from those, measured, the winner. This file knows no network, no device
and no predictor, and writes nothing: a search that was killed is run again with the losses that it had paid for
(losses.py), and takes the same way.

The evolution is HAT's (Wang et al., ACL 2020) with its defects mended: every architecture is evaluated once, several
limits hold together, and no loop waits for a candidate that the space does not hold.
"""

import functools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .config import SearchConfig
from .errors import ConfigError, InfeasibleError, MosdeployError
from .records import Candidate, Limits
from .space import ArchConfig, GeneArray, SearchSpace

MAX_DRAW_ROUNDS = 32
"""How often a batch of candidates is redrawn for the ones above a limit or already known."""
PROBES, DESCENTS, MAX_STEPS = 2000, 4, 200
"""When the smallest subnet breaks a limit: random probes, descents from the best of them, steps a descent."""

PredictMs = Callable[[GeneArray], npt.NDArray[np.float64]]
Loss = Callable[[ArchConfig], float]


@dataclass(frozen=True)
class Cost:
    """What an architecture costs besides time: weights, and bytes of the bundle."""

    num_parameters: int
    size_bytes: int


CostOf = Callable[[ArchConfig], Cost]


@dataclass(frozen=True)
class Progress:
    """One finished iteration: its number (0 is the first population), how many follow, the best loss, the work done."""

    iteration: int
    iterations: int
    best_loss: float
    num_evaluated: int


@dataclass(frozen=True)
class Evolution:
    """What the search saw: everything with a finite loss, best first, and the Pareto front among it."""

    ranked: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    num_evaluated: int


def evolve(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    *,
    loss: Loss,
    cost: CostOf,
    predict_ms: PredictMs | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Evolution:
    """Search for the architectures of lowest loss that keep all limits.

    The first population is random; then the best `parents` of everything seen bear `mutations` mutants and `crossovers`
    crosses, `iterations` times. Only architectures within the limits are evaluated, each once. The same seed and
    callables give the same result.

    Parameters
    ----------
    loss
        Validation loss of the inherited subnet, lower is better; called once an architecture. A candidate whose loss is
        not finite is counted and forgotten.
    cost
        Weights and bytes of an architecture.
    predict_ms
        Latencies of a population of gene rows (N, num_genes), in milliseconds; needed with a latency limit.

    Raises
    ------
    InfeasibleError
        If no architecture was found that keeps the limits; names the least found of each quantity that is limited.
    ConfigError
        For a latency limit without `predict_ms`.
    MosdeployError
        If no loss is finite.
    """
    if limits.max_latency_ms is not None and predict_ms is None:
        raise ConfigError(
            "a latency limit needs a latency predictor; run `mosdeploy profile` and `mosdeploy fit` first"
        )
    rng = np.random.default_rng(config.seed)
    prices = _Prices(space, limits, cost, predict_ms)
    start = _feasible_start(prices, rng)
    seen: dict[ArchConfig, float] = {}

    def evaluate(archs: list[ArchConfig], iteration: int) -> list[ArchConfig]:
        seen.update({arch: float(loss(arch)) for arch in archs})
        finite = [arch for arch, value in seen.items() if math.isfinite(value)]
        ranked = sorted(finite, key=lambda arch: (seen[arch], prices.latency_ms(arch) or 0.0, arch.key))
        if progress is not None:
            best = seen[ranked[0]] if ranked else math.inf
            progress(Progress(iteration, config.iterations, best, len(seen)))
        return ranked

    def mutant(parents: list[ArchConfig]) -> ArchConfig:
        return space.mutate(parents[rng.integers(len(parents))], config.mutation_probability, rng)

    def cross(parents: list[ArchConfig]) -> ArchConfig:
        first, second = rng.integers(len(parents), size=2)
        return space.cross(parents[first], parents[second], rng)

    population = [start]
    population += _draw(lambda: space.sample(rng), config.population - 1, prices, population)
    population += _draw(lambda: mutant([start]), config.population - len(population), prices, population)
    ranked = evaluate(population, 0)
    for iteration in range(1, config.iterations + 1):
        parents = ranked[: config.parents] or [start]
        children = _draw(functools.partial(mutant, parents), config.mutations, prices, seen)
        children += _draw(functools.partial(cross, parents), config.crossovers, prices, [*seen, *children])
        ranked = evaluate(children, iteration)
    if not ranked:
        raise MosdeployError(f"none of {len(seen)} subnets has a finite validation loss; train the supernet again")
    candidates = [prices.candidate(arch, seen[arch]) for arch in ranked]
    return Evolution(tuple(candidates), pareto_front(candidates), len(seen))


def pareto_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other beats in latency and loss, fastest first; without latencies, in weights and loss."""

    def price(candidate: Candidate) -> float:
        return candidate.num_parameters if candidate.predicted_ms is None else candidate.predicted_ms

    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (price(c), c.loss, c.arch.key)):
        if not front or candidate.loss < front[-1].loss:
            front.append(candidate)
    return tuple(front)


def finalists(
    evolution: Evolution,
    limits: Limits,
    count: int,
    exclude: Collection[str] = (),
    margin: float = 0.1,
) -> list[Candidate]:
    """Choose the subnets to measure: the best by loss, and the best further and further below the latency limit.

    The best sit just below the limit as predicted, and half of them will measure above it. So the first finalist is
    the best within the limit, the last the best within `limit * (1 - margin)`, the others in between; members of the
    front come first, since what they dominate has little to offer in their place.

    Parameters
    ----------
    exclude
        Keys of architectures that were measured already.
    margin
        How far below the limit to go: the predictor's relative error at, say, nine cases in ten.
    """
    known, front = set(exclude), {candidate.arch.key for candidate in evolution.front}
    left = [candidate for candidate in evolution.ranked if candidate.arch.key not in known]
    left.sort(key=lambda candidate: candidate.arch.key not in front)  # stable: by loss within each half
    chosen: list[Candidate] = []
    for i in range(min(count, len(left))):
        ceiling = math.inf
        if limits.max_latency_ms is not None:
            ceiling = limits.max_latency_ms * (1.0 - margin * i / max(count - 1, 1))
        fast = [candidate for candidate in left if (candidate.predicted_ms or 0.0) <= ceiling]
        chosen.append((fast or left)[0])
        left.remove(chosen[-1])
    return chosen


def choose_winner(measured: Sequence[Candidate], limits: Limits) -> Candidate:
    """The candidate of lowest loss that keeps the limits as measured; one without `measured_ms` is out of the running.

    Raises
    ------
    InfeasibleError
        If none does; carries the fastest latency measured.
    """
    timed = [c for c in measured if c.measured_ms is not None]
    kept = [
        c
        for c in timed
        if all(x <= 1 for x in _loads(limits, c.measured_ms, Cost(c.num_parameters, c.size_bytes)).values())
    ]
    if kept:
        return min(kept, key=lambda c: (c.loss, c.measured_ms, c.arch.key))
    fastest_ms = min((c.measured_ms for c in timed if c.measured_ms is not None), default=None)
    if fastest_ms is None:
        raise InfeasibleError(f"none of the {len(measured)} finalists could be measured; run `mosdeploy devices check`")
    raise InfeasibleError(
        f"none of the {len(timed)} finalists keeps the limits as measured: the fastest took {fastest_ms:.4g} ms"
        + (f", the limit is {limits.max_latency_ms:.4g} ms" if limits.max_latency_ms is not None else "")
        + "; raise the limit, or measure more subnets with `mosdeploy profile --budget` for a closer predictor",
        fastest_latency_ms=fastest_ms,
    )


# -- inner ----------------------------------------------------------------------------------------------------------


class _Prices:
    """Latency and cost of architectures, computed once each and only when asked for, and which limits they break."""

    def __init__(self, space: SearchSpace, limits: Limits, cost: CostOf, predict_ms: PredictMs | None) -> None:
        self.space, self.limits = space, limits
        self._cost, self._predict_ms = functools.cache(cost), predict_ms
        self._latency_ms: dict[ArchConfig, float | None] = {}

    def learn(self, archs: Iterable[ArchConfig]) -> None:
        """Time architectures together: one call of the predictor for all that are new."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self._latency_ms]
        if not new:
            return
        latency: list[float | None] = [None] * len(new)
        if self._predict_ms is not None:
            latency = self._predict_ms(self.space.genes(new)).tolist()
        self._latency_ms.update(zip(new, latency, strict=True))

    def latency_ms(self, arch: ArchConfig) -> float | None:
        self.learn([arch])
        return self._latency_ms[arch]

    def loads(self, arch: ArchConfig) -> dict[str, float]:
        """Each limited quantity as a share of its limit."""
        unlimited = self.limits.max_parameters is None and self.limits.max_size_bytes is None
        return _loads(self.limits, self.latency_ms(arch), None if unlimited else self._cost(arch))

    def excess(self, arch: ArchConfig) -> float:
        """How far an architecture is above the limits, summed; 0 within all of them."""
        return sum(max(share - 1.0, 0.0) for share in self.loads(arch).values())

    def candidate(self, arch: ArchConfig, loss: float) -> Candidate:
        cost = self._cost(arch)
        return Candidate(
            arch=arch,
            loss=loss,
            predicted_ms=self.latency_ms(arch),
            num_parameters=cost.num_parameters,
            size_bytes=cost.size_bytes,
        )


def _loads(limits: Limits, latency_ms: float | None, cost: Cost | None) -> dict[str, float]:
    shares: dict[str, float] = {}
    if limits.max_latency_ms is not None and latency_ms is not None:
        shares["max_latency_ms"] = latency_ms / limits.max_latency_ms
    if limits.max_parameters is not None and cost is not None:
        shares["max_parameters"] = cost.num_parameters / limits.max_parameters
    if limits.max_size_bytes is not None and cost is not None:
        shares["max_size_bytes"] = cost.size_bytes / limits.max_size_bytes
    return shares


def _draw(
    make: Callable[[], ArchConfig], count: int, prices: _Prices, known: Collection[ArchConfig]
) -> list[ArchConfig]:
    """Up to `count` new architectures within the limits; fewer when `MAX_DRAW_ROUNDS` did not find them."""
    taken, found = set(known), list[ArchConfig]()
    for _ in range(MAX_DRAW_ROUNDS):
        if len(found) >= count:
            break
        batch = [make() for _ in range(count - len(found))]
        prices.learn(batch)
        for arch in batch:
            if arch not in taken and prices.excess(arch) == 0.0:
                taken.add(arch)
                found.append(arch)
    return found


def _feasible_start(prices: _Prices, rng: np.random.Generator) -> ArchConfig:
    """An architecture within the limits: the smallest, or what a search for one finds.

    Raises
    ------
    InfeasibleError
        If there is none to be found; with the least of each quantity that is limited.
    """
    smallest = prices.space.smallest
    if prices.excess(smallest) == 0.0:
        return smallest
    probes = [smallest, *(prices.space.sample(rng) for _ in range(PROBES))]
    prices.learn(probes)
    nearest = _descend(prices, probes, prices.excess)
    if prices.excess(nearest) == 0.0:
        return nearest
    least: dict[str, float] = {}
    for name in prices.loads(smallest):
        best = _descend(prices, probes, lambda arch, name=name: prices.loads(arch)[name])  # type: ignore[misc]
        least[name] = prices.loads(best)[name] * getattr(prices.limits, name)
    found = [f"{name} = {getattr(prices.limits, name):.6g} (least found: {value:.6g})" for name, value in least.items()]
    raise InfeasibleError(
        f"no architecture of the space keeps {' and '.join(found)}"
        + (" together" if len(found) > 1 else "")
        + "; raise the limit or give [space] smaller choices",
        fastest_latency_ms=least.get("max_latency_ms"),
    )


def _descend(prices: _Prices, probes: list[ArchConfig], height: Callable[[ArchConfig], float]) -> ArchConfig:
    """The lowest point reached from the lowest few probes by changing one gene at a time."""
    reached = []
    for arch in sorted(dict.fromkeys(probes), key=lambda a: (height(a), a.key))[:DESCENTS]:
        here = arch
        for _ in range(MAX_STEPS):
            neighbours = _neighbours(prices.space, here)
            prices.learn(neighbours)
            lowest = min(neighbours, key=lambda a: (height(a), a.key), default=here)
            if height(lowest) >= height(here):
                break
            here = lowest
        reached.append(here)
    return min(reached, key=lambda a: (height(a), a.key))


def _neighbours(space: SearchSpace, arch: ArchConfig) -> list[ArchConfig]:
    """Every architecture that differs in one gene; a layer that comes into being is as small as it can be."""
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
