"""The robust additive model: latency as a non-negative combination of what costs time.

In: columns and measured latencies, some of them taken while the device was busy. Out: coefficients,
in milliseconds a unit of each column, and how far each sample is trusted. This file knows no search
space and no device.

Errors are relative, for a millisecond matters more on a fast subnet. Samples far off the rest lose
their weight: six rounds of Huber's weights, then six of Tukey's, which go down to zero. Samples
known to be noisier count for less from the start, as weighted least squares has it. No coefficient
is negative, since nothing runs faster by doing more; that makes ten samples enough for nine
columns, and many samples lose nothing by it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ..spaces.latency_features import NUM_CORE_FEATURES, FloatArray, independent

HUBER, TUKEY = 1.345, 4.685
"""The usual tuning constants: 95% efficiency on Gaussian noise."""
HUBER_ROUNDS, TUKEY_ROUNDS = 6, 6
SCALE_FLOOR = 1e-6
"""Relative errors below this are arithmetic, not noise."""


@dataclass(frozen=True)
class NonNegativeModel:
    """A fitted non-negative combination of columns.

    Attributes
    ----------
    coefficients
        Shape (C,), milliseconds a unit of each column; zero for a column that was not used.
    weights
        Shape (N,), in [0, 1]: how much each sample counts; 0 means rejected.
    used
        Indices of the columns with a positive coefficient.
    covariance
        Shape (len(used), len(used)): inverse of the weighted Gram matrix of those columns over the
        latency.
    """

    coefficients: FloatArray
    weights: FloatArray
    used: list[int]
    covariance: FloatArray

    def predict(self, columns: FloatArray) -> FloatArray:
        """Latency in milliseconds of shape (N,) from columns of shape (N, C)."""
        return columns @ self.coefficients

    def leverage(self, columns: FloatArray) -> FloatArray:
        """How far rows (N, C) lie from the samples, shape (N,): about 0 in their midst, above 1
        beyond them.
        """
        relative = columns[:, self.used] / self.predict(columns)[:, None]
        return np.asarray(np.einsum("ij,jk,ik->i", relative, self.covariance, relative))


def fit_nonnegative(
    columns: FloatArray,
    latency_ms: FloatArray,
    sample_weight: FloatArray | None = None,
    *,
    core_only: bool,
) -> NonNegativeModel:
    """Fit the model on the relative error.

    Parameters
    ----------
    columns
        Shape (N, C), not negative, the first `NUM_CORE_FEATURES` being the ones that carry nearly
        all of the time.
    latency_ms
        Shape (N,), positive.
    sample_weight
        Shape (N,), in (0, 1]: variance of a quiet sample over that of this one; None trusts all
        alike.
    core_only
        Use only the core columns.
    """
    used = [i for i in independent(columns) if i < NUM_CORE_FEATURES or not core_only]
    unit = columns[:, used].max(axis=0)
    relative = (
        columns[:, used] / unit / latency_ms[:, None]
    )  # the model's sum should be 1 in every row
    length = np.linalg.norm(relative, axis=0)  # for the solver's tolerance
    relative /= length
    sample_weight = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
    weights = sample_weight
    solution = _solve(relative, weights)
    for round_ in range(HUBER_ROUNDS + TUKEY_ROUNDS):
        error = np.abs(relative @ solution - 1.0) * np.sqrt(sample_weight)
        distance = error / _scale(error, int(np.count_nonzero(solution)))
        if round_ < HUBER_ROUNDS:
            weights = sample_weight * HUBER / np.maximum(distance, HUBER)
        else:
            weights = sample_weight * np.where(
                distance < TUKEY, (1.0 - (distance / TUKEY) ** 2) ** 2, 0.0
            )
        solution = _solve(relative, weights)
    coefficients = np.zeros(columns.shape[1])
    coefficients[used] = solution / length / unit
    positive = [i for i in used if coefficients[i] > 0]
    rows = columns[:, positive] / latency_ms[:, None]
    covariance = np.asarray(
        np.linalg.pinv(rows.T @ (rows * weights[:, None]), hermitian=True), dtype=np.float64
    )
    return NonNegativeModel(coefficients, weights, positive, covariance)


def _solve(relative: FloatArray, weights: FloatArray) -> FloatArray:
    root = np.sqrt(weights)
    solution: FloatArray = nnls(relative * root[:, None], root)[0]
    return solution


def _scale(error: FloatArray, num_fitted: int) -> float:
    """Robust standard deviation: the median of the errors without the smallest few, which the fit
    makes vanish.
    """
    ordered = np.sort(error)
    return max(1.4826 * float(np.median(ordered[min(num_fitted, len(ordered)) - 1 :])), SCALE_FLOOR)
