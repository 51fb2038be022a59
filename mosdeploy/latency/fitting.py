"""Which model to keep, and how good it is: everything that cross-validation decides.

In: columns, features and latencies. Out: the additive model over the core columns or over all of
them, the MLP ensemble if it helps, the errors on held-out rows and the width of the interval. No
model is judged by a row that it was fitted on.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from ..regression.mlp import MlpEnsemble, fit_mlp
from ..spaces.latency_features import FloatArray
from .regression import NonNegativeModel, fit_nonnegative

IndexArray = npt.NDArray[np.int64]

MIN_SAMPLES = 8
MLP_MIN_SAMPLES = 100
"""With fewer, an ensemble has never won on published or own data, and its trial costs seconds."""
NUM_FOLDS = 10
MLP_NUM_FOLDS = 5
MLP_WEIGHT_DECAY = 10.0
ALL_COLUMNS_GAIN, MLP_GAIN = 0.01, 0.02
"""Share by which the larger model has to lower the cross-validated error."""
ALL_COLUMNS_MIN_SAMPLES = 50
"""With fewer, a choice by cross-validation hangs on noise, and the core columns alone do better."""
TRIMMED_SHARE = 0.9
COVERAGE = 0.9


@dataclass(frozen=True)
class Errors:
    """Relative errors on held-out rows, all of them, in percent; and the rank correlation."""

    mape_percent: float
    within_5_percent: float
    within_10_percent: float
    kendall_tau: float


@dataclass(frozen=True)
class CrossValidation:
    """What was decided on: the model, and what its held-out predictions say about it.

    Attributes
    ----------
    trusted_mape_percent
        Mean relative error of the samples that kept a weight: what a quiet device may expect.
    trimmed_percent
        Mean relative error of the best nine tenths: what models are compared by.
    """

    model: NonNegativeModel
    correction: MlpEnsemble | None
    errors: Errors
    trusted_mape_percent: float
    trimmed_percent: float
    interval: float


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions (N,) in milliseconds and leverages (N,) of rows by models that had not seen them."""

    predicted_ms: FloatArray
    leverage: FloatArray


def measure_errors(predicted_ms: FloatArray, measured_ms: FloatArray) -> Errors:
    """Compare predictions with measurements, both of shape (N,)."""
    relative = np.abs(predicted_ms / measured_ms - 1.0)
    tau = float(kendalltau(predicted_ms, measured_ms).statistic)
    return Errors(
        mape_percent=100.0 * float(relative.mean()),
        within_5_percent=100.0 * float((relative <= 0.05).mean()),
        within_10_percent=100.0 * float((relative <= 0.10).mean()),
        kendall_tau=tau if np.isfinite(tau) else 0.0,
    )


def fit_model(
    columns: FloatArray,
    features: FloatArray,
    latency_ms: FloatArray,
    sample_weight: FloatArray | None = None,
    *,
    try_mlp: bool,
) -> CrossValidation:
    """Fit, and let cross-validation choose the columns and whether the ensemble stays.

    Parameters
    ----------
    columns
        Shape (N, C): physical columns.
    features
        Shape (N, F): what the ensemble sees.
    latency_ms
        Shape (N,), positive.
    sample_weight
        Shape (N,), in (0, 1], as `fit_nonnegative` takes it.
    try_mlp
        Try the ensemble where there are `MLP_MIN_SAMPLES`.
    """
    folds = folds_for(len(latency_ms))
    sample_weight = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
    core_only, held_out = (
        True,
        cross_validate(columns, latency_ms, folds, sample_weight, core_only=True),
    )
    if len(latency_ms) >= ALL_COLUMNS_MIN_SAMPLES:
        wide = cross_validate(columns, latency_ms, folds, sample_weight, core_only=False)
        if _trimmed_error(wide, latency_ms) < (1.0 - ALL_COLUMNS_GAIN) * _trimmed_error(
            held_out, latency_ms
        ):
            core_only, held_out = False, wide
    model = fit_nonnegative(columns, latency_ms, sample_weight, core_only=core_only)
    correction = None
    if try_mlp and len(latency_ms) >= MLP_MIN_SAMPLES:
        mlp_folds = _draw_folds(len(latency_ms), MLP_NUM_FOLDS)
        plain = cross_validate(columns, latency_ms, mlp_folds, sample_weight, core_only=core_only)
        corrected = cross_validate(
            columns, latency_ms, mlp_folds, sample_weight, core_only=core_only, features=features
        )
        if _trimmed_error(corrected, latency_ms) < (1.0 - MLP_GAIN) * _trimmed_error(
            plain, latency_ms
        ):
            correction, held_out = _fit_correction(model, columns, features, latency_ms), corrected
    return judge(model, correction, held_out, latency_ms)


def judge(
    model: NonNegativeModel,
    correction: MlpEnsemble | None,
    held_out: HeldOutPredictions,
    latency_ms: FloatArray,
) -> CrossValidation:
    """Put a fitted model and its held-out predictions together."""
    trusted = model.weights > 0
    relative = np.abs(held_out.predicted_ms / latency_ms - 1.0)
    return CrossValidation(
        model=model,
        correction=correction,
        errors=measure_errors(held_out.predicted_ms, latency_ms),
        trusted_mape_percent=100.0 * float(relative[trusted].mean()),
        trimmed_percent=100.0 * _trimmed_error(held_out, latency_ms),
        interval=_interval(held_out, latency_ms, trusted),
    )


def folds_for(num_rows: int) -> list[IndexArray]:
    """Row indices of each fold of a cross-validation: ten folds, or with few rows one a row."""
    return _draw_folds(num_rows, NUM_FOLDS if num_rows > 4 * NUM_FOLDS else num_rows)


def _draw_folds(num_rows: int, num_folds: int) -> list[IndexArray]:
    """Row indices of each fold; shuffled, since neighbours in a file were measured in the same
    minute.
    """
    return np.array_split(np.random.default_rng(0).permutation(num_rows), num_folds)


def cross_validate(
    columns: FloatArray,
    latency_ms: FloatArray,
    folds: list[IndexArray],
    sample_weight: FloatArray,
    *,
    core_only: bool,
    features: FloatArray | None = None,
) -> HeldOutPredictions:
    """Predict the rows of each fold by a model fitted on the others, with features by one that an
    ensemble corrects.
    """
    predicted, leverage = np.empty(len(latency_ms)), np.empty(len(latency_ms))
    for fold in folds:
        seen = np.ones(len(latency_ms), dtype=bool)
        seen[fold] = False
        model = fit_nonnegative(
            columns[seen], latency_ms[seen], sample_weight[seen], core_only=core_only
        )
        predicted[fold], leverage[fold] = (
            model.predict(columns[fold]),
            model.leverage(columns[fold]),
        )
        if features is not None:
            correction = _fit_correction(model, columns[seen], features[seen], latency_ms[seen])
            predicted[fold] *= np.exp(correction.predict(features[fold])[0])
    return HeldOutPredictions(predicted, leverage)


def _fit_correction(
    model: NonNegativeModel, columns: FloatArray, features: FloatArray, latency_ms: FloatArray
) -> MlpEnsemble:
    trusted = model.weights > 0
    return fit_mlp(
        features[trusted],
        np.log(latency_ms[trusted] / model.predict(columns[trusted])),
        weight_decay=MLP_WEIGHT_DECAY,
    )


def _trimmed_error(held_out: HeldOutPredictions, latency_ms: FloatArray) -> float:
    """Mean relative error of the best nine tenths: a choice of model must not hang on one throttled
    minute.
    """
    error = np.sort(np.abs(held_out.predicted_ms / latency_ms - 1.0))
    return float(error[: int(np.ceil(TRIMMED_SHARE * len(error)))].mean())


def _interval(
    held_out: HeldOutPredictions, latency_ms: FloatArray, trusted: npt.NDArray[np.bool_]
) -> float:
    """Quantile of the held-out log errors of trusted rows, each made comparable by its leverage
    (conformal rule).
    """
    error = np.abs(np.log(latency_ms / held_out.predicted_ms)) / np.sqrt(1.0 + held_out.leverage)
    ordered = np.sort(error[trusted])
    rank = int(np.ceil(COVERAGE * (len(ordered) + 1)))
    return float(ordered[min(rank, len(ordered)) - 1])
