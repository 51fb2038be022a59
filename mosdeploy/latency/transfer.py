"""Transfer: a few measurements on one device correct another device's predictor."""

import numpy as np

from ..errors import PredictorError
from ..records import TransferTrial
from ..spaces.spec import CostedSpace, FloatArray, Rows
from ..storage import fingerprint
from .dataset import LatencyDataset
from .facts import FitFacts
from .fitting import MIN_SAMPLES, ModelFit, assess, cross_validate, fit_model, folds_for
from .predictor import LatencyPredictor
from .regression import NonNegativeModel, fit_nonnegative
from .samples import Samples

MIN_TRANSFER_SAMPLES = 5


def fit_transfer(
    space: CostedSpace, dataset: LatencyDataset, source: LatencyPredictor
) -> LatencyPredictor:
    """Correct a predictor by a dataset, or fit the dataset from scratch where that errs less on
    held-out subnets.
    """
    samples = dataset.samples(space)
    device = dataset.context.device.name
    num_samples = len(samples.latency_ms)
    if num_samples < MIN_TRANSFER_SAMPLES:
        raise PredictorError(
            f"{num_samples} measured subnets are too few to correct the predictor of "
            f"{source.device} for {device}: at least {MIN_TRANSFER_SAMPLES} are needed; run "
            f"`mosdeploy profile --device {device} --budget 10`"
        )
    rows = source.to_rows(samples.genes)
    corrected = fit_map(source, rows, samples.latency_ms, samples.sample_weight)
    scratch = _from_scratch(samples) if num_samples >= MIN_SAMPLES else None
    # with too few samples for a fit from scratch there is nothing to compare with
    used = scratch is None or corrected.trimmed_percent < scratch.trimmed_percent
    return LatencyPredictor.assemble(
        corrected if scratch is None or used else scratch,
        samples.spec,
        FitFacts.of(dataset, samples.runtime),
        # what is corrected reads the source's rows, a fit from scratch gene rows
        encoding=source.encoding if used else "per_layer",
        transfer=TransferTrial(
            source=source.device,
            source_sha256=fingerprint(source),
            error_percent=corrected.trimmed_percent,
            scratch_percent=None if scratch is None else scratch.trimmed_percent,
            used=used,
        ),
    )


def fit_map(
    source: LatencyPredictor,
    rows: Rows,
    latency_ms: FloatArray,
    sample_weight: FloatArray | None = None,
) -> ModelFit:
    """Fit the coefficients of the map; the result predicts from `source.corrected_features`."""
    spread = _spread(source)
    # what the source predicts without overhead, and the overhead features, as features of their own
    grouped = source.corrected_features(rows) @ spread
    weight = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
    held_out = cross_validate(grouped, latency_ms, folds_for(len(latency_ms)), weight)
    fitted = fit_nonnegative(grouped, latency_ms, weight)
    # back to the latency features, of which the map's features are combinations
    coefficients = spread @ fitted.coefficients
    used = [int(i) for i in np.flatnonzero(coefficients)]
    # the latency's coefficients are a linear map P of the fitted ones: their covariance is P C P^T
    part = spread[np.ix_(used, fitted.used)]
    model = NonNegativeModel(
        coefficients=coefficients,
        weights=fitted.weights,
        used=used,
        covariance=part @ fitted.covariance @ part.T,
    )
    return assess(model, source.correction, held_out, latency_ms, len(fitted.used))


def _spread(source: LatencyPredictor) -> FloatArray:
    """Latency features (C) as rows, what the map combines as columns: the rest of the source, then
    each overhead feature.
    """
    spec = source.spec
    spread = np.zeros((len(spec.feature_names), 1 + len(spec.overhead_features)))
    # column 0: the source's own combination, of which the fit scales the whole
    for name, coefficient in source.coefficients.items():
        if name not in spec.overhead_features:
            spread[spec.feature_names.index(name), 0] = coefficient
    # an overhead feature has a column, and so a coefficient, of its own
    for i, name in enumerate(spec.overhead_features, start=1):
        spread[spec.feature_names.index(name), i] = 1.0
    return spread


def _from_scratch(samples: Samples) -> ModelFit:
    return fit_model(
        samples.spec.latency_features(samples.genes),
        samples.latency_ms,
        samples.sample_weight,
        num_core=samples.spec.num_core_features,
        mlp_inputs=samples.genes.astype(np.float64),
    )
