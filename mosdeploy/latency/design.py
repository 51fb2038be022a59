"""Which subnets to measure: those from which the regression learns the most."""

import numpy as np

from ..config.sections import MAX_BUDGET
from ..errors import PredictorError
from ..spaces import ArchConfig, ModelSpec
from ..spaces.spec import FloatArray
from .regression import independent

CORE_PRIOR_VARIANCE = 1e3
OTHER_PRIOR_VARIANCE = 1e-1
"""Of coefficients over features of unit length: those of the core features are learned first."""


def choose(spec: ModelSpec, budget: int, seed: int) -> list[ArchConfig]:
    """Choose subnets by greedy D-optimal design over the latency features."""
    if budget < 1:
        raise PredictorError(f"a budget of {budget} subnets is not positive; allow at least one")
    space = spec.space
    rng = np.random.default_rng(seed)
    drawn = [space.smallest, space.largest, *(space.sample(rng) for _ in range(MAX_BUDGET))]
    # dict.fromkeys leaves out duplicates and keeps the order, on which the design depends
    pool = list(dict.fromkeys(drawn))
    features = spec.latency_features(spec.gene_rows(pool))
    return [pool[i] for i in choose_rows(features, spec.num_core_features, budget)]


def choose_rows(features: FloatArray, num_core: int, budget: int) -> list[int]:
    """Choose rows by greedy D-optimal design."""
    used = independent(features)
    # of unit length on average, so that one prior serves all features
    rows = features[:, used] / np.sqrt((features[:, used] ** 2).mean(axis=0))
    # (C, C), of a Bayesian linear model whose noise has variance 1
    covariance = np.diag(
        [CORE_PRIOR_VARIANCE if i < num_core else OTHER_PRIOR_VARIANCE for i in used]
    )
    chosen: list[int] = []
    for _ in range(min(budget, len(rows))):
        # the row of largest variance raises the determinant of the information matrix most
        # x S x^T of each row x, without the (N, N) matrix of all pairs
        variance = np.einsum("ij,jk,ik->i", rows, covariance, rows)
        # below any variance, so that none is chosen again
        variance[chosen] = -1.0
        chosen.append(int(variance.argmax()))
        covariance = _condition(covariance, rows[chosen[-1]])
    return chosen


def _condition(covariance: FloatArray, row: FloatArray) -> FloatArray:
    """Covariance of the coefficients after one more measurement (Sherman-Morrison update)."""
    seen = covariance @ row
    return np.asarray(covariance - np.outer(seen, seen) / (1.0 + row @ seen))
