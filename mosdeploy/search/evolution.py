"""Evolutionary search after HAT (Wang et al., ACL 2020)."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..config.sections import SearchConfig
from ..errors import MosdeployError
from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, SearchSpace
from .constraints import ConstraintTable, find_feasible
from .front import pareto_front
from .oracle import LossesOf, SearchOracle
from .quality import inherited_quality

MAX_DRAW_ROUNDS = 32
"""How often the rest of a batch of candidates is redrawn, in place of those above a limit or known
already.
"""


@dataclass(frozen=True)
class SearchProgress:
    """One finished iteration."""

    iteration: int
    best_loss: float
    num_evaluated: int


OnProgress = Callable[[SearchProgress], None]


@dataclass(frozen=True)
class Evolution:
    """What a search saw."""

    ranked: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    evaluated: frozenset[ArchConfig]
    predicted: frozenset[ArchConfig] = frozenset()

    @property
    def num_evaluated(self) -> int:
        """How many architectures losses were asked of."""
        return len(self.evaluated)

    @property
    def num_predicted(self) -> int:
        """How many architectures' losses were only predicted."""
        return len(self.predicted - self.evaluated)


def evolve(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    oracle: SearchOracle,
    progress: OnProgress | None = None,
) -> Evolution:
    """Search for the architectures of lowest loss that keep all limits."""
    constraints = ConstraintTable(space, limits, oracle.cost, oracle.predict_ms)
    rng = np.random.default_rng(config.seed)
    # before anything is evaluated: limits that nothing keeps end the search here
    start = find_feasible(constraints, rng)
    run = _Run(config, constraints, oracle.losses, rng, progress)
    run.evaluate(run.first_population(start), 0)
    for iteration in range(1, config.iterations + 1):
        # as long as no loss is finite, mutants of the start
        parents = run.ranked[: config.parents] or [start]
        run.evaluate(run.children(parents), iteration)
    return conclude(run.seen, constraints)


@dataclass
class _Run:
    """One evolution under way: everything seen so far with its loss (NaN for none), and those of
    finite loss in order.
    """

    config: SearchConfig
    constraints: ConstraintTable
    losses: LossesOf
    rng: np.random.Generator
    progress: OnProgress | None
    seen: dict[ArchConfig, float] = field(default_factory=dict)
    ranked: list[ArchConfig] = field(default_factory=list)

    def first_population(self, start: ArchConfig) -> list[ArchConfig]:
        """A feasible start, starters of the space, random architectures, and where the limits
        leave too few of those, mutants of the start.
        """
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
        """Of the space's starters that keep the limits, those that come closest to them."""
        starters = self.constraints.space.starters()
        self.constraints.prefetch(starters)
        within = [arch for arch in starters if self.constraints.violation(arch) == 0.0]
        return sorted(within, key=self.constraints.objective, reverse=True)[:count]

    def children(self, parents: list[ArchConfig]) -> list[ArchConfig]:
        """New architectures within the limits, made from parents."""
        # everything seen is known, so that no architecture is evaluated twice
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

    def evaluate(self, archs: list[ArchConfig], iteration: int) -> None:
        """Ask for the losses of new architectures and rank everything anew."""
        # finalists are the best of all that was seen, and may be more than the parents
        num_kept = max(self.config.parents, self.config.finalists)
        incumbents = _incumbents(archs, self.ranked, num_kept, self.constraints)
        for arch, loss in zip(archs, self.losses(archs, incumbents), strict=True):
            # seen all the same: it must not be drawn again
            self.seen[arch] = math.nan if loss is None else loss
        self.ranked = rank(self.seen, self.constraints)
        if self.progress is not None:
            best = self.seen[self.ranked[0]] if self.ranked else math.inf
            self.progress(
                SearchProgress(
                    iteration=iteration,
                    best_loss=best,
                    num_evaluated=len(self.seen),
                )
            )

    def _mutant(self, parents: list[ArchConfig]) -> ArchConfig:
        parent = parents[self.rng.integers(len(parents))]
        return self.constraints.space.mutate(parent, self.config.mutation_probability, self.rng)

    def _crossover(self, parents: list[ArchConfig]) -> ArchConfig:
        # both may be the same parent; the child is then known, and `draw` leaves it out
        first, second = self.rng.integers(len(parents), size=2)
        return self.constraints.space.crossover(parents[first], parents[second], self.rng)


def rank(seen: Mapping[ArchConfig, float], constraints: ConstraintTable) -> list[ArchConfig]:
    """The architectures of finite loss, best first; of equal ones the fastest."""
    finite = [arch for arch, loss in seen.items() if math.isfinite(loss)]
    # without a predictor every latency is None; the key makes the order the same in every run
    return sorted(
        finite, key=lambda arch: (seen[arch], constraints.latency_ms(arch) or 0.0, arch.key)
    )


def conclude(seen: Mapping[ArchConfig, float], constraints: ConstraintTable) -> Evolution:
    """Rank everything within the limits and find its front."""
    ranked = rank(seen, constraints)
    # the samples of a surrogate come from all that was trained
    within = {arch for arch in seen if constraints.violation(arch) == 0.0}
    candidates = [constraints.candidate(arch, seen[arch]) for arch in ranked if arch in within]
    if ranked and not candidates:
        raise MosdeployError(
            f"none of {len(within)} subnets within the limits has a finite validation loss, while "
            f"{len(ranked)} beyond them have; raise a limit, or train the supernet again"
        )
    if not candidates:
        raise MosdeployError(
            f"none of {len(seen)} subnets has a finite validation loss; train the supernet again"
        )
    return Evolution(tuple(candidates), pareto_front(candidates), frozenset(seen))


def losses_of(
    evolution: Evolution, archs: Collection[ArchConfig], oracle: SearchOracle
) -> dict[ArchConfig, float | None]:
    """Losses of all that an evolution ranked, and of further architectures in full."""
    known = {candidate.arch: candidate.loss for candidate in evolution.ranked}
    new = [arch for arch in archs if arch not in known]
    return {**known, **dict(zip(new, oracle.losses(new, [None] * len(new)), strict=True))}


def with_candidates(
    evolution: Evolution, found: Sequence[Candidate], evaluated: Collection[ArchConfig]
) -> Evolution:
    """An evolution with further candidates, or others in place of those of the same
    architectures.
    """
    replaced = {candidate.arch for candidate in found}
    left = [candidate for candidate in evolution.ranked if candidate.arch not in replaced]
    ranked = sorted(
        [*found, *left], key=lambda c: (*inherited_quality(c), c.predicted_ms or 0.0, c.arch.key)
    )
    return replace(
        evolution,
        ranked=tuple(ranked),
        front=pareto_front(ranked),
        evaluated=evolution.evaluated.union(evaluated),
    )


def _incumbents(
    archs: list[ArchConfig],
    ranked: list[ArchConfig],
    num_kept: int,
    constraints: ConstraintTable,
) -> list[ArchConfig | None]:
    """For each candidate the architecture that it has to beat to matter, or None where any loss
    would do.
    """
    objectives = [constraints.objective(arch) for arch in ranked]

    def incumbent(arch: ArchConfig) -> ArchConfig | None:
        objective = constraints.objective(arch)
        # `objectives` is in the order of loss: the first that costs no more is the best of these
        leader = next((i for i, other in enumerate(objectives) if other <= objective), len(ranked))
        # the worse of two ranks: what loses to this one is neither kept nor on the front
        place = max(leader, num_kept - 1)
        # fewer ranked than are kept, or none that costs as little: any loss matters
        return ranked[place] if place < len(ranked) else None

    return [incumbent(arch) for arch in archs]


def draw(
    make: Callable[[], ArchConfig],
    count: int,
    constraints: ConstraintTable,
    known: Collection[ArchConfig],
) -> list[ArchConfig]:
    """Make up to `count` new architectures within the limits; fewer when `MAX_DRAW_ROUNDS` did not
    find them.
    """
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
