"""The evolution of HAT (Wang et al., ACL 2020) with its defects mended.

In: a space, limits, and callables that objective an architecture. Out: an `Evolution`. Every
architecture is evaluated once, several limits hold together, and no loop waits for a candidate that
the space does not hold.
"""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config.sections import SearchConfig
from ..errors import MosdeployError
from ..evaluation.cache import Losses
from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, SearchSpace
from .constraints import ConstraintTable, CostOf, PredictMs, find_feasible

MAX_DRAW_ROUNDS = 32
"""How often a batch of candidates is redrawn for the ones above a limit or already known."""


@dataclass(frozen=True)
class Progress:
    """One finished iteration: its number (0 is the first population), how many follow, the best
    loss, the work done.
    """

    iteration: int
    iterations: int
    best_loss: float
    num_evaluated: int


@dataclass(frozen=True)
class Evolution:
    """What the search saw: everything with a finite loss, best first, and the Pareto front among
    it.

    `num_evaluated` counts what the losses were asked of, `num_predicted` what a quality predictor
    was.
    """

    ranked: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    num_evaluated: int
    num_predicted: int = 0


def evolve(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    *,
    losses: Losses,
    cost: CostOf,
    predict_ms: PredictMs | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Evolution:
    """Search for the architectures of lowest loss that keep all limits.

    The first population is random; then the best `parents` of everything seen bear `mutations`
    mutants and `crossovers` crosses, `iterations` times. Only architectures within the limits are
    evaluated, each once. The same seed and callables give the same result.

    Parameters
    ----------
    losses
        Called once an iteration, asked once for an architecture. A candidate without a finite loss
        is counted and forgotten. Rivals are such that neither the parents to come nor the front
        would hold a worse candidate.
    cost
        Weights and bytes of an architecture.
    predict_ms
        Latencies of a population of gene rows (N, num_genes), in milliseconds; needed with a
        latency limit.

    Raises
    ------
    InfeasibleError
        If no architecture was found that keeps the limits; names the least found of each quantity
        that is limited.
    ConfigError
        For a latency limit without `predict_ms`.
    MosdeployError
        If no loss is finite.
    """
    rng = np.random.default_rng(config.seed)
    constraints = ConstraintTable(space, limits, cost, predict_ms)
    start = find_feasible(constraints, rng)
    seen: dict[ArchConfig, float] = {}

    def evaluate(
        archs: list[ArchConfig], iteration: int, ranked: list[ArchConfig]
    ) -> list[ArchConfig]:
        incumbents = _incumbents(archs, ranked, config.parents, constraints)
        for arch, loss in zip(archs, losses(archs, incumbents), strict=True):
            seen[arch] = math.nan if loss is None else loss
        ranked = rank(seen, constraints)
        if progress is not None:
            best = seen[ranked[0]] if ranked else math.inf
            progress(Progress(iteration, config.iterations, best, len(seen)))
        return ranked

    def mutant(parents: list[ArchConfig]) -> ArchConfig:
        return space.mutate(parents[rng.integers(len(parents))], config.mutation_probability, rng)

    def crossover(parents: list[ArchConfig]) -> ArchConfig:
        first, second = rng.integers(len(parents), size=2)
        return space.crossover(parents[first], parents[second], rng)

    population = [start]
    population += draw(lambda: space.sample(rng), config.population - 1, constraints, population)
    population += draw(
        lambda: mutant([start]), config.population - len(population), constraints, population
    )
    ranked = evaluate(population, 0, [])
    for iteration in range(1, config.iterations + 1):
        parents = ranked[: config.parents] or [start]
        children = draw(functools.partial(mutant, parents), config.mutations, constraints, seen)
        children += draw(
            functools.partial(crossover, parents),
            config.crossovers,
            constraints,
            [*seen, *children],
        )
        ranked = evaluate(children, iteration, ranked)
    return conclude(seen, constraints)


def rank(seen: Mapping[ArchConfig, float], constraints: ConstraintTable) -> list[ArchConfig]:
    """The architectures of finite loss, best first; of equal ones the fastest."""
    finite = [arch for arch, loss in seen.items() if math.isfinite(loss)]
    return sorted(
        finite, key=lambda arch: (seen[arch], constraints.latency_ms(arch) or 0.0, arch.key)
    )


def conclude(seen: Mapping[ArchConfig, float], constraints: ConstraintTable) -> Evolution:
    """What came of a search: the ranking and the front of those within the limits.

    Raises
    ------
    MosdeployError
        If no loss is finite.
    """
    candidates = [
        constraints.candidate(arch, seen[arch])
        for arch in rank(seen, constraints)
        if constraints.violation(arch) == 0.0
    ]
    if not candidates:
        raise MosdeployError(
            f"none of {len(seen)} subnets has a finite validation loss; train the supernet again"
        )
    return Evolution(tuple(candidates), pareto_front(candidates), len(seen))


def pareto_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other beats in latency and loss, fastest first; without latencies, in
    weights and loss.
    """

    def objective(candidate: Candidate) -> float:
        return (
            candidate.num_parameters if candidate.predicted_ms is None else candidate.predicted_ms
        )

    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (objective(c), c.loss, c.arch.key)):
        if not front or candidate.loss < front[-1].loss:
            front.append(candidate)
    return tuple(front)


def _incumbents(
    archs: list[ArchConfig],
    ranked: list[ArchConfig],
    num_parents: int,
    constraints: ConstraintTable,
) -> list[ArchConfig | None]:
    """Whom each has to beat, or else it is neither a parent nor on the front; None while anyone
    would do.

    That is the worse of two: the last of the parents, and the best of those that cost no more.
    """
    paid = [constraints.objective(arch) for arch in ranked]

    def incumbent(arch: ArchConfig) -> ArchConfig | None:
        objective = constraints.objective(arch)
        leader = next((i for i, other in enumerate(paid) if other <= objective), len(ranked))
        place = max(leader, num_parents - 1)
        return ranked[place] if place < len(ranked) else None

    return [incumbent(arch) for arch in archs]


def draw(
    make: Callable[[], ArchConfig],
    count: int,
    constraints: ConstraintTable,
    known: Collection[ArchConfig],
) -> list[ArchConfig]:
    """Up to `count` new architectures within the limits; fewer when `MAX_DRAW_ROUNDS` did not find
    them.
    """
    taken, found = set(known), list[ArchConfig]()
    for _ in range(MAX_DRAW_ROUNDS):
        if len(found) >= count:
            break
        batch = [make() for _ in range(count - len(found))]
        constraints.prefetch(batch)
        for arch in batch:
            if arch not in taken and constraints.violation(arch) == 0.0:
                taken.add(arch)
                found.append(arch)
    return found
