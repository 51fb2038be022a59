"""Evolutionary search after HAT (Wang et al., ACL 2020)."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..config.sections import SearchConfig
from ..errors import MosdeployError
from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, SearchSpace
from .constraints import ConstraintTable, LossesOf, SearchOracle, find_feasible
from .front import pareto_front, quality

MAX_DRAW_ROUNDS = 32
"""How often the missing part of a batch is drawn again."""


@dataclass(frozen=True)
class Iteration:
    """One finished iteration."""

    number: int
    best_loss: float
    num_evaluated: int


OnIteration = Callable[[Iteration], None]


@dataclass(frozen=True)
class Evolution:
    """All candidates of a search, the best first, and its front."""

    ranked: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    evaluated: frozenset[ArchConfig]

    @property
    def num_evaluated(self) -> int:
        """Count the architectures whose losses were computed."""
        return len(self.evaluated)

    def with_candidates(
        self, found: Sequence[Candidate], evaluated: Iterable[ArchConfig]
    ) -> "Evolution":
        """Add candidates, or replace those of the same architectures."""
        replaced = {candidate.arch for candidate in found}
        left = [candidate for candidate in self.ranked if candidate.arch not in replaced]
        ranked = sorted(
            [*found, *left], key=lambda c: (*quality(c), c.predicted_ms or 0.0, c.arch.key)
        )
        return replace(
            self,
            ranked=tuple(ranked),
            front=pareto_front(ranked),
            evaluated=self.evaluated.union(evaluated),
        )


def evolve(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    oracle: SearchOracle,
    on_iteration: OnIteration | None = None,
) -> Evolution:
    """Search for the architectures of lowest loss that keep all limits."""
    constraints = ConstraintTable(space, limits, oracle)
    rng = np.random.default_rng(config.seed)
    # limits that nothing keeps end the search here, before anything is evaluated
    start = find_feasible(constraints, rng)
    run = _Run(config, constraints, oracle.losses, rng)
    archs = run.first_population(start)
    for number in range(config.iterations + 1):
        run.evaluate(archs)
        if on_iteration is not None:
            best = run.seen[run.ranked[0]] if run.ranked else math.inf
            on_iteration(Iteration(number, best_loss=best, num_evaluated=len(run.seen)))
        if number < config.iterations:
            # as long as no loss is finite, mutants of the start
            archs = run.children(run.ranked[: config.parents] or [start])
    return conclude(run.seen, constraints)


@dataclass
class _Run:
    """One evolution: all losses so far (NaN for none), and the architectures of finite loss."""

    config: SearchConfig
    constraints: ConstraintTable
    losses: LossesOf
    rng: np.random.Generator
    seen: dict[ArchConfig, float] = field(default_factory=dict)
    ranked: list[ArchConfig] = field(default_factory=list)

    def first_population(self, start: ArchConfig) -> list[ArchConfig]:
        """Draw the first architectures, some of them starters of the space."""
        size = self.config.population
        population = list(dict.fromkeys([start, *self._starters(size // 2)]))
        # random ones are rejected until they keep the limits, which under tight limits few do
        population += draw(
            lambda: self.constraints.space.sample(self.rng),
            size - len(population),
            self.constraints,
            population,
        )
        # so the rest are neighbours of an architecture that does
        population += draw(
            lambda: self._mutant([start]), size - len(population), self.constraints, population
        )
        return population

    def _starters(self, count: int) -> list[ArchConfig]:
        """Return the starters within the limits that come closest to them."""
        starters = self.constraints.space.starters()
        self.constraints.prefetch(starters)
        within = [arch for arch in starters if self.constraints.violation(arch) == 0.0]
        return sorted(within, key=self.constraints.objective, reverse=True)[:count]

    def children(self, parents: list[ArchConfig]) -> list[ArchConfig]:
        """Draw new mutants and crossovers within the limits."""
        mutants = draw(
            lambda: self._mutant(parents), self.config.mutations, self.constraints, self.seen
        )
        return mutants + draw(
            lambda: self._crossover(parents),
            self.config.crossovers,
            self.constraints,
            # a crossover may come out as one of these mutants, which are not evaluated yet
            [*self.seen, *mutants],
        )

    def evaluate(self, archs: list[ArchConfig]) -> None:
        """Compute the losses of new architectures and rank everything anew."""
        for arch, loss in zip(archs, self.losses(archs), strict=True):
            # one without a loss is seen all the same: it must not be drawn again
            self.seen[arch] = math.nan if loss is None else loss
        self.ranked = _rank(self.seen, self.constraints)

    def _mutant(self, parents: list[ArchConfig]) -> ArchConfig:
        parent = parents[self.rng.integers(len(parents))]
        return self.constraints.space.mutate(parent, self.config.mutation_probability, self.rng)

    def _crossover(self, parents: list[ArchConfig]) -> ArchConfig:
        # both may be the same parent; the child is then known, and `draw` leaves it out
        first, second = self.rng.integers(len(parents), size=2)
        return self.constraints.space.crossover(parents[first], parents[second], self.rng)


def _rank(seen: Mapping[ArchConfig, float], constraints: ConstraintTable) -> list[ArchConfig]:
    """Order the architectures of finite loss, best first; of equal ones the fastest."""
    finite = [arch for arch, loss in seen.items() if math.isfinite(loss)]
    # without a predictor every latency is None; the key makes the order the same in every run
    return sorted(
        finite, key=lambda arch: (seen[arch], constraints.latency_ms(arch) or 0.0, arch.key)
    )


def conclude(seen: Mapping[ArchConfig, float], constraints: ConstraintTable) -> Evolution:
    """Rank everything and find its front."""
    candidates = [constraints.candidate(arch, seen[arch]) for arch in _rank(seen, constraints)]
    if not candidates:
        raise MosdeployError(
            f"none of {len(seen)} subnets has a finite validation loss; train the supernet again"
        )
    return Evolution(tuple(candidates), pareto_front(candidates), frozenset(seen))


def draw(
    make: Callable[[], ArchConfig],
    count: int,
    constraints: ConstraintTable,
    known: Collection[ArchConfig],
) -> list[ArchConfig]:
    """Make up to `count` new architectures within the limits, in at most `MAX_DRAW_ROUNDS`."""
    taken = set(known)
    found: list[ArchConfig] = []
    # bounded, since the space may hold no more that keep the limits
    for _ in range(MAX_DRAW_ROUNDS):
        if len(found) >= count:
            break
        batch = [make() for _ in range(count - len(found))]
        # one call of the predictor a batch
        constraints.prefetch(batch)
        for arch in batch:
            if arch not in taken and constraints.violation(arch) == 0.0:
                taken.add(arch)
                found.append(arch)
    return found
