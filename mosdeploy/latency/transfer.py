"""Transfer: a few measurements on one device correct another device's predictor.

In: a dataset of a few subnets, and a predictor of the same space and workload. Out: a predictor of
the dataset's device, corrected or fitted from scratch, whichever cross-validation prefers; its card
says which.

The map is a * source + b + c * decoder layers, written as a * (rest of the source) + b' + c' *
decoder layers, where the rest is what the source predicts without its constant and its share of
each decoder layer: what a call and a layer cost at least differs most between devices and runtimes.
No coefficient is negative, as in any additive model, and the corrected predictor is one. Maps with
fewer coefficients did no better on HAT's data, with five samples or twenty.
"""

import numpy as np

from ..errors import PredictorError
from ..records import TransferTrial
from ..spaces.genes import SearchSpace
from ..spaces.latency_features import (
    FEATURE_NAMES,
    FloatArray,
    Rows,
    latency_features,
    sums_from_genes,
)
from ..storage import fingerprint
from .dataset import LatencyDataset, Samples
from .fitting import MIN_SAMPLES, CrossValidation, cross_validate, fit_model, folds_for, judge
from .predictor import LatencyPredictor
from .regression import NonNegativeModel, fit_nonnegative

MIN_TRANSFER_SAMPLES = 5
FREE = ("constant", "decoder_layers")
"""The columns that get coefficients of their own; all others keep their proportions in the source.
"""


def fit_transfer(
    space: SearchSpace, dataset: LatencyDataset, source: LatencyPredictor
) -> LatencyPredictor:
    """Correct a predictor by a dataset, or fit the dataset from scratch where that errs less on
    held-out subnets.

    Parameters
    ----------
    source
        Of the same space, workload and vocabulary; of whichever device and runtime.

    Raises
    ------
    PredictorError
        With fewer than `MIN_TRANSFER_SAMPLES` measured subnets, and as `LatencyDataset.samples`.
    StaleInputError
        As `LatencyDataset.samples`.
    """
    context, samples = dataset.context, dataset.samples(space)
    device, num_samples = context.device.name, len(samples.latency_ms)
    if num_samples < MIN_TRANSFER_SAMPLES:
        raise PredictorError(
            f"{num_samples} measured subnets are too few to correct the predictor of {source.device} for {device}: at "
            f"least {MIN_TRANSFER_SAMPLES} are needed; run `mosdeploy profile --device {device} --budget 10`"
        )
    corrected = fit_map(
        source, source.to_rows(samples.genes), samples.latency_ms, samples.sample_weight
    )
    scratch = _from_scratch(space, dataset, samples) if num_samples >= MIN_SAMPLES else None
    used = scratch is None or corrected.trimmed_percent < scratch.trimmed_percent
    return LatencyPredictor.assemble(
        corrected if scratch is None or used else scratch,
        space,
        context.workload,
        context.vocab_size,
        device=device,
        encoding=source.encoding if used else "per_layer",
        runtime=samples.runtime,
        dataset_sha256=dataset.sha256,
        boards=dataset.boards,
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
) -> CrossValidation:
    """Fit the three coefficients; the result is an additive model for `source.corrected_columns`.

    Parameters
    ----------
    rows
        In the encoding of the source.
    latency_ms
        Shape (N,), on the other device.
    sample_weight
        Shape (N,), in (0, 1], as `fit_nonnegative` takes it.
    """
    spread = np.zeros(
        (len(FEATURE_NAMES), 1 + len(FREE))
    )  # (columns of the model, coefficients of the map)
    for name, coefficient in source.coefficients.items():
        if name not in FREE:
            spread[FEATURE_NAMES.index(name), 0] = coefficient
    for i, name in enumerate(FREE, start=1):
        spread[FEATURE_NAMES.index(name), i] = 1.0
    grouped = source.corrected_columns(rows) @ spread
    sample_weight = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
    held_out = cross_validate(
        grouped, latency_ms, folds_for(len(latency_ms)), sample_weight, core_only=False
    )
    fitted = fit_nonnegative(grouped, latency_ms, sample_weight, core_only=False)
    coefficients = spread @ fitted.coefficients
    used = [int(i) for i in np.flatnonzero(coefficients)]
    part = spread[np.ix_(used, fitted.used)]
    model = NonNegativeModel(coefficients, fitted.weights, used, part @ fitted.covariance @ part.T)
    return judge(model, source.correction, held_out, latency_ms)


def _from_scratch(space: SearchSpace, dataset: LatencyDataset, samples: Samples) -> CrossValidation:
    context, genes = dataset.context, samples.genes
    columns = latency_features(
        sums_from_genes(space, genes), space.qkv_dim, context.workload, context.vocab_size
    )
    return fit_model(
        columns, genes.astype(np.float64), samples.latency_ms, samples.sample_weight, try_mlp=True
    )
