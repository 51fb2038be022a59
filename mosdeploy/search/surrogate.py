"""The search by a learned quality predictor: all are predicted, the best few are evaluated.

In: a space, limits, callables that objective an architecture, and one that fits a predictor to
losses. Out: an `Evolution` whose every loss was truly evaluated. This file knows no predictor.
"""

import dataclasses
import math
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from ..config.sections import SearchConfig
from ..evaluation.cache import Losses
from ..records import Limits
from ..spaces.genes import ArchConfig, GeneArray, SearchSpace
from .constraints import ConstraintTable, Cost, CostOf, PredictMs, find_feasible
from .evolution import Evolution, Progress, conclude, draw, evolve, rank
from .finalists import finalists

ROUNDS = 4
"""Evolutions on predictions; after each, the best predicted are evaluated and the predictor is
fitted again.
"""

FloatArray = npt.NDArray[np.float64]
PredictLoss = Callable[[GeneArray], FloatArray]
Fit = Callable[[GeneArray, FloatArray], PredictLoss]


def evolve_predicted(
    space: SearchSpace,
    config: SearchConfig,
    limits: Limits,
    *,
    losses: Losses,
    fit: Fit,
    cost: CostOf,
    predict_ms: PredictMs | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Evolution:
    """Search as `evolve` does, on predicted losses; what is returned was evaluated.

    The predictor learns from `quality_samples` architectures of the whole space, within the limits
    or not, so that a later search under other limits finds them paid for. Then, round by round, it
    is fitted, an evolution runs on its predictions, and of the result `parents` architectures are
    evaluated: half of them the best, the others the best further and further below the latency
    limit, for the device may be slower than predicted.

    Parameters
    ----------
    losses, cost, predict_ms
        As in `evolve`; no subnet has a incumbent.
    fit
        From canonical gene rows (N, num_genes) and losses (N,) to a predictor of losses.

    Raises
    ------
    InfeasibleError, ConfigError
        As `evolve`, before anything is evaluated.
    MosdeployError
        If no loss is finite.
    """
    rng = np.random.default_rng(config.seed)
    constraints = ConstraintTable(space, limits, cost, predict_ms)
    find_feasible(constraints, rng)
    known: dict[ArchConfig, float] = {}
    num_predicted = 0

    def evaluate(archs: list[ArchConfig], round_: int) -> None:
        for arch, loss in zip(archs, losses(archs, [None] * len(archs)), strict=True):
            known[arch] = math.nan if loss is None else loss
        if progress is not None:
            within = [
                known[arch]
                for arch in rank(known, constraints)
                if constraints.violation(arch) == 0.0
            ]
            progress(Progress(round_, ROUNDS, min(within, default=math.inf), len(known)))

    evaluate(_sample(space, config.quality_samples, rng), 0)
    for round_ in range(1, ROUNDS + 1):
        learnt = rank(known, constraints)
        if not learnt:
            break
        predict = fit(space.genes(learnt), np.array([known[arch] for arch in learnt]))
        guessed = evolve(
            space,
            config,
            limits,
            losses=lambda archs, _, predict=predict: predict(space.genes(archs)).tolist(),  # type: ignore[misc]
            cost=cost,
            predict_ms=predict_ms,
        )
        num_predicted += guessed.num_evaluated
        evaluate(_promising(guessed, limits, config.parents, known), round_)
    return dataclasses.replace(conclude(known, constraints), num_predicted=num_predicted)


def _sample(space: SearchSpace, count: int, rng: np.random.Generator) -> list[ArchConfig]:
    """The smallest, the largest and others at random, all different; fewer where the space holds
    fewer.
    """
    ends = list(dict.fromkeys([space.smallest, space.largest]))
    unlimited = ConstraintTable(space, Limits(), lambda _: Cost(0, 0), None)
    return ends + draw(lambda: space.sample(rng), count - len(ends), unlimited, ends)


def _promising(
    guessed: Evolution, limits: Limits, count: int, known: Collection[ArchConfig]
) -> list[ArchConfig]:
    """Half of them the best as predicted, the others as one would choose finalists; none that is
    known.
    """
    best = [candidate.arch for candidate in guessed.ranked if candidate.arch not in known][
        : count // 2
    ]
    exclude = {arch.key for arch in (*known, *best)}
    return best + [
        candidate.arch for candidate in finalists(guessed, limits, count - len(best), exclude)
    ]
