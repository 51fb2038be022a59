"""Robust non-negative regression of latencies, and the subnets that teach it the most."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ..config.sections import MAX_BUDGET
from ..errors import PredictorError
from ..spaces import ArchConfig, ModelSpec
from ..spaces.spec import FloatArray

HUBER = 1.345
TUKEY = 4.685
"""The usual tuning constants: both keep 95% efficiency on Gaussian noise."""
HUBER_ROUNDS = 6
TUKEY_ROUNDS = 6
MIN_SCALE = 1e-6
"""Relative errors below this are arithmetic, not noise."""


@dataclass(frozen=True)
class NonNegativeModel:
    """A fitted non-negative combination of latency features."""

    coefficients: FloatArray
    weights: FloatArray
    used: list[int]
    covariance: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """Latency in milliseconds of shape (N,) from features of shape (N, C)."""
        return features @ self.coefficients

    def leverage(self, features: FloatArray) -> FloatArray:
        """How far rows (N, C) lie from the samples, shape (N,): about 0 in their midst, above 1
        beyond them.
        """
        # over the latency, as in the fit, whose errors are relative
        relative = features[:, self.used] / self.predict(features)[:, None]
        return np.asarray(np.einsum("ij,jk,ik->i", relative, self.covariance, relative))


def fit_nonnegative(
    features: FloatArray,
    latency_ms: FloatArray,
    sample_weight: FloatArray | None = None,
    *,
    num_features: int | None = None,
) -> NonNegativeModel:
    """Fit the model on the relative error."""
    used = independent(features[:, :num_features])
    unit = features[:, used].max(axis=0)
    # the model's sum over these should be 1 in every row
    relative = features[:, used] / unit / latency_ms[:, None]
    # of unit length, for the solver's tolerance
    length = np.linalg.norm(relative, axis=0)
    relative /= length
    prior = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
    solution, weights = _solve_robustly(relative, prior)
    coefficients = np.zeros(features.shape[1])
    coefficients[used] = solution / length / unit
    positive = [i for i in used if coefficients[i] > 0]
    rows = features[:, positive] / latency_ms[:, None]
    # the pseudo-inverse, since few samples may leave the Gram matrix singular
    covariance = np.asarray(
        np.linalg.pinv(rows.T @ (rows * weights[:, None]), hermitian=True), dtype=np.float64
    )
    return NonNegativeModel(
        coefficients=coefficients, weights=weights, used=positive, covariance=covariance
    )


def independent(features: FloatArray, tolerance: float = 1e-3) -> list[int]:
    """Indices of features that are not linear combinations of earlier ones, in order."""
    basis: list[FloatArray] = []
    kept = []
    for i in range(features.shape[1]):
        length = float(np.linalg.norm(features[:, i]))
        rest = features[:, i] / length if length > 0 else np.zeros(len(features))
        # Gram-Schmidt loses orthogonality to rounding; a second pass restores it (Kahan, Parlett)
        for _ in range(2):
            for direction in basis:
                rest = rest - (direction @ rest) * direction
        size = float(np.linalg.norm(rest))
        if size > tolerance:
            basis.append(rest / size)
            kept.append(i)
    return kept


def _solve_robustly(relative: FloatArray, prior: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solution (C,) and weights (N,) of reweighted least squares from weights known beforehand."""
    weights = prior
    solution = _solve(relative, weights)
    for round_index in range(HUBER_ROUNDS + TUKEY_ROUNDS):
        # an error of a noisy sample is compared with that sample's own deviation
        error = np.abs(relative @ solution - 1.0) * np.sqrt(prior)
        distance = error / _scale(error, int(np.count_nonzero(solution)))
        # Huber's objective is convex, so it leads to the one minimum; Tukey's, which rejects
        # samples, has several and starts from there
        if round_index < HUBER_ROUNDS:
            weights = prior * HUBER / np.maximum(distance, HUBER)
        else:
            weights = prior * np.where(distance < TUKEY, (1.0 - (distance / TUKEY) ** 2) ** 2, 0.0)
        solution = _solve(relative, weights)
    return solution, weights


def _solve(relative: FloatArray, weights: FloatArray) -> FloatArray:
    root = np.sqrt(weights)
    # nnls takes no weights: their roots on both sides weigh the squared errors
    solution: FloatArray = nnls(relative * root[:, None], root)[0]
    return solution


def _scale(error: FloatArray, num_fitted: int) -> float:
    """Robust standard deviation: the median of the errors without the smallest few, which the fit
    makes vanish.
    """
    ordered = np.sort(error)
    rest = ordered[min(num_fitted, len(ordered)) - 1 :]
    # 1.4826 turns the median absolute deviation of Gaussian noise into its standard deviation
    return max(1.4826 * float(np.median(rest)), MIN_SCALE)


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
    return [pool[i] for i in choose_rows(features, spec.space.num_core_features, budget)]


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
