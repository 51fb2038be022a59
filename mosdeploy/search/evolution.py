"""Evolutionary search after HAT (Wang et al., ACL 2020)."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config.sections import SearchConfig
from ..errors import ConfigError, MosdeployError, StaleInputError
from ..record import Record, load_json, parse
from ..records import Limits
from ..spaces.genes import ArchConfig, SearchSpace
from ..storage import append_line, read_lines
from .constraints import ConstraintTable, LossesOf, SearchOracle, find_feasible
from .front import Evolution, pareto_front

MAX_DRAW_ROUNDS = 32
"""How often the missing part of a batch is drawn again."""

MUTATION_PROBABILITY = 0.3
"""A mutant has each gene drawn anew with it (HAT)."""


@dataclass(frozen=True)
class Iteration:
    """One finished iteration."""

    number: int
    best_loss: float
    num_evaluated: int


OnIteration = Callable[[Iteration], None]


def evolve(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    oracle: SearchOracle,
    on_iteration: OnIteration | None = None,
    *,
    seed: int = 1,
) -> Evolution:
    """Search for the architectures of lowest loss that keep all limits."""
    constraints = ConstraintTable(space, limits, oracle)
    rng = np.random.default_rng(seed)
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
            archs = run.children(run.ranked[: config.num_parents] or [start])
    candidates = [constraints.candidate(arch, run.seen[arch]) for arch in run.ranked]
    if not candidates:
        raise MosdeployError(
            f"none of {len(run.seen)} subnets has a finite validation loss; train the supernet "
            "again"
        )
    return Evolution(tuple(candidates), pareto_front(candidates), frozenset(run.seen))


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
        population += self._draw(
            lambda: self.constraints.space.sample(self.rng), size - len(population), population
        )
        # so the rest are neighbours of an architecture that does
        population += self._draw(lambda: self._mutant([start]), size - len(population), population)
        return population

    def _starters(self, count: int) -> list[ArchConfig]:
        """Return the starters within the limits that come closest to them."""
        starters = self.constraints.space.starters()
        self.constraints.prefetch(starters)
        within = [arch for arch in starters if self.constraints.violation(arch) == 0.0]
        return sorted(within, key=self.constraints.objective, reverse=True)[:count]

    def children(self, parents: list[ArchConfig]) -> list[ArchConfig]:
        """Draw new mutants and crossovers within the limits."""
        mutants = self._draw(lambda: self._mutant(parents), self.config.num_mutants, self.seen)
        return mutants + self._draw(
            lambda: self._crossover(parents),
            self.config.num_mutants,
            # a crossover may come out as one of these mutants, which are not evaluated yet
            [*self.seen, *mutants],
        )

    def evaluate(self, archs: list[ArchConfig]) -> None:
        """Compute the losses of new architectures and rank everything anew."""
        for arch, loss in zip(archs, self.losses(archs), strict=True):
            # one without a loss is seen all the same: it must not be drawn again
            self.seen[arch] = math.nan if loss is None else loss
        finite = [arch for arch, loss in self.seen.items() if math.isfinite(loss)]
        # of equal ones the fastest; without a predictor every latency is None, and the key makes
        # the order the same in every run
        self.ranked = sorted(
            finite,
            key=lambda x: (self.seen[x], self.constraints.latency_ms(x) or 0.0, x.key),
        )

    def _draw(
        self, make: Callable[[], ArchConfig], count: int, known: Collection[ArchConfig]
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
            self.constraints.prefetch(batch)
            for arch in batch:
                if arch not in taken and self.constraints.violation(arch) == 0.0:
                    taken.add(arch)
                    found.append(arch)
        return found

    def _mutant(self, parents: list[ArchConfig]) -> ArchConfig:
        parent = parents[self.rng.integers(len(parents))]
        return self.constraints.space.mutate(parent, MUTATION_PROBABILITY, self.rng)

    def _crossover(self, parents: list[ArchConfig]) -> ArchConfig:
        # both may be the same parent; the child is then known, and `draw` leaves it out
        first, second = self.rng.integers(len(parents), size=2)
        return self.constraints.space.crossover(parents[first], parents[second], self.rng)


class CachedLoss(Record):
    """One line of the cache; a loss that is not finite is None."""

    inputs_sha256: str
    key: str
    loss: float | None


@dataclass
class LossCache:
    """Losses of one supernet on one set of examples, kept in a file."""

    path: Path
    inputs_sha256: str
    _losses: dict[str, float | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for number, line in enumerate(read_lines(self.path)[0], start=1):
            cached = self._read(line, f"{self.path}, line {number}")
            if cached is not None:
                self._losses[cached.key] = cached.loss

    def wrap(self, measure: Callable[[ArchConfig], float]) -> LossesOf:
        """Return losses that `measure` computes only where they are not known."""

        def losses(archs: Sequence[ArchConfig]) -> Iterator[float | None]:
            for arch in archs:
                if arch.key not in self._losses:
                    self._store(arch.key, measure(arch))
                yield self._losses[arch.key]

        return losses

    def _store(self, key: str, loss: float) -> None:
        finite = loss if math.isfinite(loss) else None
        # on disk before the search uses it: after a kill the search makes the same choices
        append_line(self.path, CachedLoss(inputs_sha256=self.inputs_sha256, key=key, loss=finite))
        self._losses[key] = finite

    def _read(self, line: bytes, source: str) -> CachedLoss | None:
        """Parse one line; None for one of another supernet or version."""
        try:
            data = load_json(line)
            # before the other fields are parsed: a line of another version may lack some
            if isinstance(data, dict) and data.get("inputs_sha256") != self.inputs_sha256:
                return None
            return parse(CachedLoss, data, source)
        except (ValueError, RecursionError, ConfigError) as error:
            raise StaleInputError(
                f"{source} is corrupt ({error}); delete that line and run `mosdeploy search` again"
            ) from error
