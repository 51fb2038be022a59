"""Search with a surrogate: losses of most candidates are predicted, only the best are evaluated."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from ..config.sections import SearchConfig
from ..records import NO_LIMITS, Limits
from ..spaces.genes import ArchConfig, GeneArray, SearchSpace
from .constraints import ConstraintTable, find_feasible, neighbours_of
from .evolution import Evolution, OnProgress, SearchProgress, conclude, draw, evolve, rank
from .finalists import finalists
from .oracle import FloatArray, LossesOf, SearchOracle

NUM_ROUNDS = 4
"""Evolutions on predicted losses; after each, the best are evaluated and the predictor is fitted
again.
"""

PredictLoss = Callable[[GeneArray], FloatArray]
Fit = Callable[[GeneArray, FloatArray], PredictLoss]
"""From gene rows (N, G) and their losses (N,) to a predictor of losses."""


def evolve_predicted(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    oracle: SearchOracle,
    fit: Fit,
    progress: OnProgress | None = None,
    min_samples: int = 1,
) -> Evolution:
    """Search as `evolve` does, on predicted losses; what is returned was evaluated."""
    constraints = ConstraintTable(space, limits, oracle.cost, oracle.predict_ms)
    # limits that cannot be kept fail before anything is evaluated
    start = find_feasible(constraints, np.random.default_rng(config.seed))
    known: dict[ArchConfig, float] = {}
    predicted: set[ArchConfig] = set()

    def evaluate(archs: Sequence[ArchConfig], iteration: int) -> None:
        # no incumbents: an early stop gives no loss, and the predictor is fitted to losses
        for arch, loss in zip(archs, oracle.losses(archs, [None] * len(archs)), strict=True):
            known[arch] = math.nan if loss is None else loss
        if progress is not None:
            progress(_progress(iteration, known, constraints))

    trained = ConstraintTable(space, NO_LIMITS, oracle.cost, oracle.predict_ms)
    sample = _sample(trained, config)
    if len(sample) < min_samples:
        # with the start, so that one of them keeps the limits
        evaluate(list(dict.fromkeys([*sample, start])), 0)
        return conclude(known, constraints)
    evaluate(sample, 0)
    for iteration in range(1, NUM_ROUNDS + 1):
        ranked = rank(known, constraints)
        if not ranked:
            # no loss is finite: nothing can be fitted, and `conclude` says so
            break
        predict = fit(space.genes(ranked), np.array([known[arch] for arch in ranked]))
        on_predictions = dataclasses.replace(oracle, losses=_predicted_losses(space, predict))
        # the seed is the same in each round: only the predictor differs
        guessed = evolve(space, config, limits, on_predictions)
        predicted |= guessed.evaluated
        evaluate(_promising(guessed, limits, config.parents, known), iteration)
    return dataclasses.replace(conclude(known, constraints), predicted=frozenset(predicted))


def _progress(
    iteration: int, known: dict[ArchConfig, float], constraints: ConstraintTable
) -> SearchProgress:
    """How far the search is; the best loss is that of the best within the limits."""
    within = [
        known[arch] for arch in rank(known, constraints) if constraints.violation(arch) == 0.0
    ]
    return SearchProgress(
        iteration=iteration,
        best_loss=min(within, default=math.inf),
        num_evaluated=len(known),
    )


def _predicted_losses(space: SearchSpace, predict: PredictLoss) -> LossesOf:
    """Losses of an oracle, answered by a predictor."""

    def losses(
        archs: Sequence[ArchConfig], incumbents: Sequence[ArchConfig | None]
    ) -> list[float | None]:
        predicted: list[float | None] = predict(space.genes(archs)).tolist()
        return predicted

    return losses


def _sample(trained: ConstraintTable, config: SearchConfig) -> list[ArchConfig]:
    """The smallest, the largest and others at random, `quality_samples` in all, different and
    trained; where those are too few, neighbours of them; fewer where no more are found.
    """
    space = trained.space
    count = config.quality_samples
    # a generator of its own: the sample must not depend on the limits of the search
    rng = np.random.default_rng(config.seed)
    # both ends, so that little of the space lies beyond the samples
    found = [
        arch
        for arch in dict.fromkeys([space.smallest, space.largest])
        if trained.violation(arch) == 0.0
    ]
    # random ones are rejected until they were trained, as within tight limits few were
    found += draw(lambda: space.sample(rng), count - len(found), trained, found)
    return _filled_up(found or [find_feasible(trained, rng)], count, trained, rng)


def _filled_up(
    found: list[ArchConfig], count: int, trained: ConstraintTable, rng: np.random.Generator
) -> list[ArchConfig]:
    """Up to `count` that were trained: those found, and others that differ in one gene from one of
    these or of the others. Fewer only where no more can be reached, so that a few are all.
    """
    reached = dict.fromkeys(found)
    open_ends = list(found)
    while open_ends and len(reached) < count:
        here = open_ends[rng.integers(len(open_ends))]
        neighbours = neighbours_of(trained.space, here)
        trained.prefetch(neighbours)
        new = [x for x in neighbours if x not in reached and trained.violation(x) == 0.0]
        if not new:
            open_ends.remove(here)
            continue
        # one at a time, so that they do not all lie around the same one
        arch = new[rng.integers(len(new))]
        reached[arch] = None
        open_ends.append(arch)
    return list(reached)


def _promising(
    guessed: Evolution, limits: Limits, count: int, known: Collection[ArchConfig]
) -> list[ArchConfig]:
    """Half of them the best as predicted, the others as one would choose finalists; none that is
    known.
    """
    # ranked by predicted loss
    new: list[ArchConfig] = [c.arch for c in guessed.ranked if c.arch not in known]
    best = new[: count // 2]
    exclude = {arch.key for arch in (*known, *best)}
    chosen = finalists(guessed, limits, count - len(best), exclude)
    return best + [candidate.arch for candidate in chosen]
