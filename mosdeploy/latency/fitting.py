"""The ensemble beside the regression, and what cross-validation decides: which model to keep, and
how good it is.
"""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import stdtrit

from ..record import Record
from ..spaces.spec import FloatArray
from .regression import NonNegativeModel, fit_nonnegative

HIDDEN_DIM = 32
MEMBERS = 3
MAX_ITERATIONS = 200

Finite = Annotated[float, Field(allow_inf_nan=False)]
Vector = tuple[Finite, ...]
Matrix = tuple[Vector, ...]


class Layer(Record):
    """One linear layer: weight (in, out) and bias (out,)."""

    weight: Matrix
    bias: Vector


class MlpEnsemble(Record):
    """Networks of equal shape over standardised features."""

    mean: Vector
    deviation: Vector
    output_scale: Finite
    members: tuple[tuple[Layer, ...], ...]

    def predict(self, features: npt.NDArray[Any]) -> FloatArray:
        """Correct a population."""
        inputs = (features - np.array(self.mean)) / np.array(self.deviation)
        outputs = []
        for layers in self.members:
            x = inputs
            for i, layer in enumerate(layers):
                x = x @ np.array(layer.weight) + np.array(layer.bias)
                # none behind the last layer: a residual may be negative
                if i < len(layers) - 1:
                    x = np.maximum(x, 0.0)
            outputs.append(x[:, 0])
        correction: FloatArray = np.mean(outputs, axis=0) * self.output_scale
        return correction


def fit_mlp(features: FloatArray, residual: FloatArray, *, weight_decay: float) -> MlpEnsemble:
    """Train the ensemble; the same data give the same weights."""
    # imported here, for it takes longer than most commands
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    # a feature that never varies standardises to zero; its mean may be off in the last digit
    deviation[deviation <= 1e-9 * np.abs(features).max(axis=0)] = 1.0
    # of unit deviation, so that the same weight decay suits residuals of any size
    scale = max(float(residual.std()), 1e-9)
    members = []
    for seed in range(MEMBERS):
        # lbfgs takes all samples at once, so that members differ by their first weights alone
        network = MLPRegressor(
            hidden_layer_sizes=(HIDDEN_DIM,),
            solver="lbfgs",
            alpha=weight_decay,
            max_iter=MAX_ITERATIONS,
            random_state=seed,
        )
        # stopping early is regularisation too
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit((features - mean) / deviation, residual / scale)
        members.append(
            tuple(
                Layer(weight=_matrix(weight), bias=tuple(bias.tolist()))
                for weight, bias in zip(network.coefs_, network.intercepts_, strict=True)
            )
        )
    return MlpEnsemble(
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        output_scale=scale,
        members=tuple(members),
    )


def _matrix(array: FloatArray) -> Matrix:
    return tuple(tuple(row) for row in array.tolist())


MIN_SAMPLES = 8
MLP_MIN_SAMPLES = 100
"""With fewer, an ensemble has never won on published or own data, and its trial costs seconds."""
NUM_FOLDS = 10
MLP_NUM_FOLDS = 5
MLP_WEIGHT_DECAY = 10.0
ALL_FEATURES_MIN_SAMPLES = 50
"""With fewer, a choice by cross-validation hangs on noise, and the core features do better."""
ALL_FEATURES_GAIN = 0.01
MLP_GAIN = 0.02
"""Share by which the larger model has to lower the cross-validated error."""
TRIMMED_SHARE = 0.9
COVERAGE = 0.9

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PredictionErrors:
    """Relative errors of all predictions, in percent, and their rank correlation with the
    measurements.
    """

    mape_percent: float
    within_5_percent: float
    within_10_percent: float
    kendall_tau: float


@dataclass(frozen=True)
class ModelFit:
    """A fitted model, and what its held-out predictions say about it."""

    model: NonNegativeModel
    correction: MlpEnsemble | None
    errors: PredictionErrors
    trusted_mape_percent: float
    trimmed_percent: float
    interval: float


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions (N,) in milliseconds and leverages (N,) of rows by models fitted without them."""

    predicted_ms: FloatArray
    leverage: FloatArray


def measure_errors(predicted_ms: FloatArray, measured_ms: FloatArray) -> PredictionErrors:
    """Compare predictions with measurements, both of shape (N,)."""
    from scipy.stats import kendalltau  # here: half a second, which only a fit waits for

    relative = np.abs(predicted_ms / measured_ms - 1.0)
    tau = float(kendalltau(predicted_ms, measured_ms).statistic)
    return PredictionErrors(
        mape_percent=100.0 * float(relative.mean()),
        within_5_percent=100.0 * float((relative <= 0.05).mean()),
        within_10_percent=100.0 * float((relative <= 0.10).mean()),
        # without a rank, where all predictions are equal, scipy says NaN
        kendall_tau=tau if np.isfinite(tau) else 0.0,
    )


def fit_model(
    features: FloatArray,
    latency_ms: FloatArray,
    sample_weight: FloatArray | None = None,
    *,
    num_core: int,
    mlp_inputs: FloatArray | None = None,
) -> ModelFit:
    """Fit, and let cross-validation choose the features and whether the ensemble stays."""
    weight = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
    num_features, held_out = _choose_features(features, latency_ms, weight, num_core)
    # on all rows: the models of the folds only judge
    model = fit_nonnegative(features, latency_ms, weight, num_features=num_features)
    correction = None
    if mlp_inputs is not None and len(latency_ms) >= MLP_MIN_SAMPLES:
        # fewer folds, since each trains an ensemble; the plain model is compared on the same ones
        mlp_folds = folds(len(latency_ms), MLP_NUM_FOLDS)
        plain, corrected = (
            cross_validate(
                features,
                latency_ms,
                mlp_folds,
                weight,
                num_features=num_features,
                mlp_inputs=inputs,
            )
            for inputs in (None, mlp_inputs)
        )
        if _is_better(corrected, plain, latency_ms, gain=MLP_GAIN):
            correction = _fit_correction(
                model, features=features, mlp_inputs=mlp_inputs, latency_ms=latency_ms
            )
            # the errors and the interval are to be those of the model that is kept
            held_out = corrected
    return assess(model, correction, held_out, latency_ms, len(model.used))


def _choose_features(
    features: FloatArray, latency_ms: FloatArray, sample_weight: FloatArray, num_core: int
) -> tuple[int | None, HeldOutPredictions]:
    """How many features to use, None for all, and the held-out predictions with these."""
    # the same folds for both sets of features
    held_out_rows = folds_for(len(latency_ms))
    core = cross_validate(features, latency_ms, held_out_rows, sample_weight, num_features=num_core)
    if len(latency_ms) >= ALL_FEATURES_MIN_SAMPLES:
        full = cross_validate(features, latency_ms, held_out_rows, sample_weight)
        if _is_better(full, core, latency_ms, gain=ALL_FEATURES_GAIN):
            return None, full
    return num_core, core


def assess(
    model: NonNegativeModel,
    correction: MlpEnsemble | None,
    held_out: HeldOutPredictions,
    latency_ms: FloatArray,
    num_fitted: int,
) -> ModelFit:
    """Work out the errors and the interval of a fitted model of so many coefficients from its
    held-out predictions.
    """
    # rejected samples were taken while the device was busy: their errors are not the model's
    kept = model.weights > 0
    relative = np.abs(held_out.predicted_ms / latency_ms - 1.0)
    return ModelFit(
        model=model,
        correction=correction,
        errors=measure_errors(held_out.predicted_ms, latency_ms),
        trusted_mape_percent=100.0 * float(relative[kept].mean()),
        trimmed_percent=100.0 * _trimmed_error(held_out, latency_ms),
        interval=_interval(held_out, latency_ms, kept, num_fitted),
    )


def folds(num_rows: int, num_folds: int) -> list[IndexArray]:
    """Split rows into folds of nearly equal size, always in the same way."""
    # imported here, for it takes longer than most commands
    from sklearn.model_selection import KFold

    # always the same seed: models that are compared are judged on the same folds
    splitter = KFold(num_folds, shuffle=True, random_state=0)
    return [held_out for _, held_out in splitter.split(np.empty((num_rows, 1)))]


def folds_for(num_rows: int) -> list[IndexArray]:
    """Held-out rows of each fold: ten folds, or leave-one-out where there are few rows."""
    return folds(num_rows, NUM_FOLDS if num_rows > 4 * NUM_FOLDS else num_rows)


def cross_validate(
    features: FloatArray,
    latency_ms: FloatArray,
    held_out_rows: list[IndexArray],
    sample_weight: FloatArray,
    *,
    num_features: int | None = None,
    mlp_inputs: FloatArray | None = None,
) -> HeldOutPredictions:
    """Predict the rows of each fold by a model fitted on all others."""
    predicted_ms = np.empty(len(latency_ms))
    leverage = np.empty(len(latency_ms))
    for held_out in held_out_rows:
        # a feature may depend on others in these rows alone: each fold chooses its own
        seen = np.ones(len(latency_ms), dtype=bool)
        seen[held_out] = False
        model = fit_nonnegative(
            features[seen], latency_ms[seen], sample_weight[seen], num_features=num_features
        )
        predicted_ms[held_out] = model.predict(features[held_out])
        leverage[held_out] = model.leverage(features[held_out])
        if mlp_inputs is not None:
            correction = _fit_correction(
                model,
                features=features[seen],
                mlp_inputs=mlp_inputs[seen],
                latency_ms=latency_ms[seen],
            )
            # the ensemble predicts log latency over that of the model
            predicted_ms[held_out] *= np.exp(correction.predict(mlp_inputs[held_out]))
    return HeldOutPredictions(predicted_ms, leverage)


def _fit_correction(
    model: NonNegativeModel, *, features: FloatArray, mlp_inputs: FloatArray, latency_ms: FloatArray
) -> MlpEnsemble:
    kept = model.weights > 0
    # the ratio, since errors are relative; rejected rows would be learned as if they were the rule
    return fit_mlp(
        mlp_inputs[kept],
        np.log(latency_ms[kept] / model.predict(features[kept])),
        weight_decay=MLP_WEIGHT_DECAY,
    )


def _is_better(
    larger: HeldOutPredictions, smaller: HeldOutPredictions, latency_ms: FloatArray, *, gain: float
) -> bool:
    """Whether the larger model lowers the error by enough to be worth its coefficients."""
    limit = (1.0 - gain) * _trimmed_error(smaller, latency_ms)
    # strictly: of equal models the smaller one stays
    return _trimmed_error(larger, latency_ms) < limit


def _trimmed_error(held_out: HeldOutPredictions, latency_ms: FloatArray) -> float:
    """Mean relative error of the best nine tenths: a choice of model must not hang on one throttled
    minute.
    """
    # each model is judged without the worst tenth of its own rows
    error = np.sort(np.abs(held_out.predicted_ms / latency_ms - 1.0))
    return float(error[: int(np.ceil(TRIMMED_SHARE * len(error)))].mean())


def _interval(
    held_out: HeldOutPredictions,
    latency_ms: FloatArray,
    kept: npt.NDArray[np.bool_],
    num_fitted: int,
) -> float:
    """Quantile of the held-out log errors of the rows that kept a weight, each made comparable by
    its leverage; where few rows are left over, the wider one by Student's distribution.
    """
    # the variance of a prediction grows with 1 + leverage
    error = np.abs(np.log(latency_ms / held_out.predicted_ms)) / np.sqrt(1.0 + held_out.leverage)
    ordered = np.sort(error[kept])
    # split conformal prediction: the rank among N errors and the one to come
    rank = int(np.ceil(COVERAGE * (len(ordered) + 1)))
    quantile = ordered[min(rank, len(ordered)) - 1]
    # errors of as many rows as there are coefficients are all small or all large
    left_over = max(len(ordered) - num_fitted, 1)
    student = stdtrit(left_over, (1.0 + COVERAGE) / 2.0) * np.sqrt(np.mean(ordered**2))
    return float(max(quantile, student))
