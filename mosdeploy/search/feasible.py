"""The part of a space that keeps limits, for whoever draws architectures from it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..records import Limits
from ..spaces.genes import ArchConfig, SearchSpace
from .constraints import NUM_PROBES, ConstraintTable, find_feasible, local_search
from .oracle import CostOf, PredictMs

DRAWS = (8, 64, 512)
"""How many random architectures are looked at together, until one keeps the limits."""
WALK_STEPS = 16
MUTATION_PROBABILITY = 0.3


@dataclass(frozen=True)
class FeasibleSpace:
    """The architectures of a space that keep limits."""

    space: SearchSpace
    limits: Limits
    cost: CostOf
    predict_ms: PredictMs | None
    largest: ArchConfig
    smallest: ArchConfig

    @classmethod
    def find(
        cls, space: SearchSpace, limits: Limits, cost: CostOf, predict_ms: PredictMs | None = None
    ) -> Self:
        """Find both ends by a local search; the same arguments give the same ones."""
        constraints = ConstraintTable(space, limits, cost, predict_ms)
        rng = np.random.default_rng(0)
        start = find_feasible(constraints, rng)
        probes = [start, space.smallest, space.largest]
        probes += [space.sample(rng) for _ in range(NUM_PROBES)]
        constraints.prefetch(probes)

        def end(sign: int) -> ArchConfig:
            return local_search(constraints, probes, _size_within(constraints, sign))

        return cls(space, limits, cost, predict_ms, largest=end(-1), smallest=end(+1))

    def sample(self, rng: np.random.Generator) -> ArchConfig:
        """Draw one: uniform over the choices as in `SearchSpace.sample`, but only within the
        limits; where they leave too few for that, a mutant of many steps from an end.
        """
        for count in DRAWS:
            batch = [self.space.sample(rng) for _ in range(count)]
            constraints = self._constraints(batch)
            for arch in batch:
                if constraints.violation(arch) == 0.0:
                    return arch
        return self._walk(rng)

    def _walk(self, rng: np.random.Generator) -> ArchConfig:
        here = (self.largest, self.smallest)[rng.integers(2)]
        for _ in range(WALK_STEPS):
            mutant = self.space.mutate(here, MUTATION_PROBABILITY, rng)
            # from one within the limits to the next: it never leaves them
            if self._constraints([mutant]).violation(mutant) == 0.0:
                here = mutant
        return here

    def _constraints(self, batch: list[ArchConfig]) -> ConstraintTable:
        # a new one each time: over a whole training one would remember millions
        constraints = ConstraintTable(self.space, self.limits, self.cost, self.predict_ms)
        constraints.prefetch(batch)
        return constraints


def _size_within(constraints: ConstraintTable, sign: int) -> Callable[[ArchConfig], float]:
    """Objective of a local search: weights, times a sign; infinite beyond the limits."""

    def objective(arch: ArchConfig) -> float:
        if constraints.violation(arch) > 0.0:
            return math.inf
        return sign * constraints.num_parameters(arch)

    return objective
