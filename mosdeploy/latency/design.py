"""Which subnets to measure: those from which the additive model learns the most.

In: a space, a workload, a budget and a seed. Out: architectures, in the order in which to measure
them. No latency is looked at, so the whole list is known beforehand; a larger budget only makes it
longer.
"""

from collections.abc import Collection

import numpy as np

from ..errors import PredictorError
from ..spaces.genes import ArchConfig, SearchSpace
from ..spaces.latency_features import (
    NUM_CORE_FEATURES,
    FloatArray,
    independent,
    latency_features,
    sums_from_genes,
)
from ..spaces.spec import Workload

POOL_SIZE = 1000
PRIOR_VARIANCE_CORE, PRIOR_VARIANCE_OTHER = 1e3, 1e-1
"""Of coefficients over columns of unit length: the core columns are learned first."""


def choose(
    space: SearchSpace,
    workload: Workload,
    vocab_size: int,
    budget: int,
    seed: int,
    measured: Collection[ArchConfig] = (),
) -> list[ArchConfig]:
    """Choose subnets by greedy D-optimal design over the predictor's columns.

    Each next subnet is the one of a random pool (with the space's smallest and largest) whose
    latency the ones before leave most uncertain. The same seed gives the same order, so the choice
    for 20 begins the choice for 30.

    Parameters
    ----------
    budget
        How many subnets to choose; fewer are returned when the pool, and so the space, holds fewer.
    seed
        Seed of the pool.
    measured
        Subnets outside the design that are known already: the design goes on from them and leaves
        them out.

    Raises
    ------
    PredictorError
        If the budget is not positive.
    """
    if budget < 1:
        raise PredictorError(f"a budget of {budget} subnets is not positive")
    rng = np.random.default_rng(seed)
    drawn = [space.smallest, space.largest, *(space.sample(rng) for _ in range(POOL_SIZE))]
    known = list(dict.fromkeys(measured))
    pool = [arch for arch in dict.fromkeys(drawn) if arch not in set(known)]
    columns = latency_features(
        sums_from_genes(space, space.genes(known + pool)), space.qkv_dim, workload, vocab_size
    )
    return [pool[i - len(known)] for i in choose_rows(columns, budget, num_known=len(known))]


def choose_rows(columns: FloatArray, budget: int, num_known: int = 0) -> list[int]:
    """Choose rows by greedy D-optimal design.

    Parameters
    ----------
    columns
        Shape (N, C), physical columns (columns.py); the first `num_known` rows are measured
        already.
    budget
        How many of the other rows to choose, at most.

    Returns
    -------
    Indices of rows, in the order in which to measure them.
    """
    used = independent(columns)
    rows = columns[:, used] / np.sqrt((columns[:, used] ** 2).mean(axis=0))
    covariance = np.diag(
        [PRIOR_VARIANCE_CORE if i < NUM_CORE_FEATURES else PRIOR_VARIANCE_OTHER for i in used]
    )
    for row in rows[:num_known]:
        covariance = _learn(covariance, row)
    taken, chosen = list(range(num_known)), list[int]()
    for _ in range(min(budget, len(rows) - num_known)):
        variance = np.einsum("ij,jk,ik->i", rows, covariance, rows)
        variance[taken + chosen] = -1.0
        chosen.append(int(variance.argmax()))
        covariance = _learn(covariance, rows[chosen[-1]])
    return chosen


def _learn(covariance: FloatArray, row: FloatArray) -> FloatArray:
    """Covariance of the coefficients after one more measurement (Sherman, Morrison)."""
    seen = covariance @ row
    return np.asarray(covariance - np.outer(seen, seen) / (1.0 + row @ seen))
