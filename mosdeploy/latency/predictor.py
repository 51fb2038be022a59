"""The latency predictor: fitted on a few dozen measured subnets, asked for millions."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..errors import PredictorError
from ..record import Record
from ..records import (
    BoardCalibration,
    PredictorCard,
    RowBlock,
    SessionCalibration,
    TransferTrial,
)
from ..spaces import AnySpace, AnyWorkload, ModelSpec
from ..spaces.genes import GeneArray
from ..spaces.spec import CostedSpace, FloatArray, Rows
from ..storage import fingerprint, read_record, write_record
from .dataset import LatencyDataset, runtime_family
from .fitting import (
    MIN_SAMPLES,
    Finite,
    Matrix,
    MlpEnsemble,
    ModelFit,
    assess,
    cross_validate,
    fit_model,
    folds_for,
)
from .regression import NonNegativeModel, fit_nonnegative

Encoding = Literal["per_layer", "aggregated"]
MIN_TRANSFER_SAMPLES = 5
CHUNK_ROWS = 16_384
"""Rows at a time, so that their features stay in the processor's cache."""


@dataclass(frozen=True)
class FitFacts:
    """What a predictor's card says of the samples."""

    device: str
    runtime: str = ""
    left_out: tuple[RowBlock, ...] = ()
    boards: tuple[BoardCalibration, ...] = ()
    rescaled_sessions: tuple[SessionCalibration, ...] = ()
    dataset_sha256: str = ""
    source: str = ""
    licence: str = ""

    @classmethod
    def of(cls, dataset: LatencyDataset, runtime: str) -> "FitFacts":
        """Those of a dataset, all of which one runtime measured."""
        return cls(
            device=dataset.context.device.name,
            runtime=runtime,
            boards=dataset.boards,
            rescaled_sessions=dataset.rescaled_sessions,
            dataset_sha256=dataset.sha256,
        )


class LatencyPredictor(Record):
    """What was fitted, for which space, workload and device, and how good it is.

    Attributes
    ----------
    encoding
        What the samples looked like: gene rows (N, G), or means over layers (N, A) in the order of
        the space's `mean_order`.
    coefficients
        Milliseconds a unit of each latency feature in use, all positive.
    covariance
        Inverse of the weighted Gram matrix of the features in use over the latency, in the same
        order. A row x of features has the leverage x @ covariance @ x / latency ** 2.
    interval
        Half width in log latency of an interval that holds about nine in ten measurements, for a
        row without leverage; `half_width` gives that of others.

    Examples
    --------
    >>> from mosdeploy.config import load_recipe
    >>> from mosdeploy.latency.predictor import FitFacts
    >>> spec = load_recipe("tiny").spec
    >>> rng = np.random.default_rng(0)
    >>> genes = spec.gene_rows([spec.space.sample(rng) for _ in range(20)])
    >>> latency_ms = 3.0 + spec.latency_features(genes).sum(axis=1)
    >>> predictor = LatencyPredictor.fit(spec, genes, latency_ms, facts=FitFacts(device="rpi"))
    >>> bool(abs(predictor.predict(genes) / latency_ms - 1).max() < 0.1)
    True
    """

    version: Literal[1] = 1
    space: AnySpace
    workload: AnyWorkload
    vocab_size: int
    device: str
    encoding: Encoding
    coefficients: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    covariance: Matrix
    interval: Finite
    correction: MlpEnsemble | None
    card: PredictorCard

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # coefficients are found by name, rows of the covariance by position
        unknown = set(self.coefficients) - set(self.space.feature_names)
        if unknown or not self.coefficients:
            raise ValueError(f"coefficients must name latency features, not {sorted(unknown)}")
        if any(len(row) != len(self.coefficients) for row in (self.covariance, *self.covariance)):
            raise ValueError("covariance must be square, one row a coefficient")
        return self

    # -- fit

    @classmethod
    def fit(
        cls,
        spec: ModelSpec,
        rows: Rows,
        latency_ms: npt.ArrayLike,
        sample_weight: FloatArray | None = None,
        *,
        facts: FitFacts,
        encoding: Encoding = "per_layer",
        try_mlp: bool = True,
    ) -> "LatencyPredictor":
        """Fit the regression, and the MLP ensemble on what it leaves where cross-validation says
        that it helps.

        Parameters
        ----------
        rows
            Canonical gene rows (N, G), or with `encoding="aggregated"` means over layers (N, A).
        latency_ms
            Shape (N,), positive.
        sample_weight
            Shape (N,), in (0, 1]: variance of an undisturbed measurement over that of this one;
            None gives all the same weight.
        facts
            Where the samples come from.
        try_mlp
            Train the ensemble at all: takes seconds where the regression takes hundredths.

        Raises
        ------
        PredictorError
            With fewer than `MIN_SAMPLES` rows, or a latency that is not a positive number.
        """
        model_fit = fit_model(
            _latency_features(spec, rows, encoding),
            # the fit divides by these and takes their logarithms
            _checked(latency_ms, facts.device, spec.workload.name),
            sample_weight,
            num_core=spec.space.num_core_features,
            mlp_inputs=np.asarray(rows, dtype=np.float64) if try_mlp else None,
        )
        return cls.assemble(model_fit, spec, facts, encoding=encoding)

    @classmethod
    def fit_dataset(cls, space: CostedSpace, dataset: LatencyDataset) -> "LatencyPredictor":
        """Fit on every subnet of a dataset whose measurement has a time (median of the whole run).

        Raises
        ------
        PredictorError
            With too few measured subnets, and as `LatencyDataset.samples`.
        StaleInputError
            As `LatencyDataset.samples`.
        """
        samples = dataset.samples(space)
        return cls.fit(
            samples.spec,
            samples.genes,
            samples.latency_ms,
            samples.sample_weight,
            facts=FitFacts.of(dataset, samples.runtime),
        )

    @classmethod
    def assemble(
        cls,
        model_fit: ModelFit,
        spec: ModelSpec,
        facts: FitFacts,
        *,
        encoding: Encoding,
        transfer: TransferTrial | None = None,
    ) -> "LatencyPredictor":
        """Make a predictor and its card of what was fitted."""
        model = model_fit.model
        # the fit never saw them, but the card counts them as rejected too
        num_left_out = sum(block.stop - block.start for block in facts.left_out)
        return cls(
            # of one family, which pydantic checks
            space=spec.space,
            workload=spec.workload,
            vocab_size=spec.vocab_size,
            device=facts.device,
            encoding=encoding,
            # in the order of `used`, which is that of the covariance
            coefficients={
                spec.space.feature_names[i]: float(model.coefficients[i]) for i in model.used
            },
            covariance=tuple(tuple(row) for row in model.covariance.tolist()),
            interval=model_fit.interval,
            correction=model_fit.correction,
            card=PredictorCard(
                workload=spec.workload.name,
                space_sha256=fingerprint(spec.space),
                num_samples=len(model.weights),
                num_rejected=num_left_out + int(np.count_nonzero(model.weights == 0)),
                uses_mlp=model_fit.correction is not None,
                trusted_mape_percent=model_fit.trusted_mape_percent,
                transfer=transfer,
                # the card has all of these fields under the same names
                **asdict(model_fit.errors),
                **vars(facts),
            ),
        )

    # -- predict

    @property
    def spec(self) -> ModelSpec:
        """The model that the latencies are about."""
        return ModelSpec(self.space, self.vocab_size, self.workload)

    def predict(self, genes: GeneArray) -> FloatArray:
        """Latency in milliseconds of shape (N,) from canonical gene rows of shape (N, G)."""
        return self.predict_rows(self.to_rows(genes))

    def to_rows(self, genes: GeneArray) -> Rows:
        """Gene rows (N, G) in the encoding that the predictor was fitted on."""
        return genes if self.encoding == "per_layer" else self.space.aggregate_genes(genes)

    def predict_rows(self, rows: Rows) -> FloatArray:
        """Latency in milliseconds of shape (N,) from rows in the encoding that the predictor was
        fitted on.
        """
        spec = self.spec
        # by name: the file does not depend on the order of a space's features
        used = [spec.space.feature_names.index(name) for name in self.coefficients]
        weights = np.array(list(self.coefficients.values()))
        latency_ms = np.empty(len(rows))
        for start in range(0, len(rows), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            features = _latency_features(spec, rows[part], self.encoding)
            # (n, C) @ (C,) for the n rows of this part
            latency_ms[part] = features[:, used] @ weights
            if self.correction is not None:
                # the ensemble predicts log latency over the regression's, so its exp is a factor
                latency_ms[part] *= np.exp(self.correction.predict(rows[part]))
        return latency_ms

    def half_width(self, rows: Rows) -> FloatArray:
        """Half width in log latency, of shape (N,), of each row's interval that holds about nine in
        ten measurements: the farther from the samples, the wider. Rows as `predict_rows` takes
        them.
        """
        spec = self.spec
        used = [spec.space.feature_names.index(name) for name in self.coefficients]
        features = _latency_features(spec, rows, self.encoding)[:, used]
        # over the regression's latency, as in the fit, whose errors are relative
        relative = features / (features @ np.array(list(self.coefficients.values())))[:, None]
        leverage = np.einsum("ij,jk,ik->i", relative, np.array(self.covariance), relative)
        return np.asarray(self.interval * np.sqrt(1.0 + leverage))

    def corrected_features(self, rows: Rows) -> FloatArray:
        """Every latency feature, times the ensemble's correction, of shape (N, C).

        Multiplied by the coefficients they add up to what `predict_rows` returns.
        """
        features = _latency_features(self.spec, rows, self.encoding)
        if self.correction is None:
            return features
        # one factor a row, (N, 1), for all of its features
        return features * np.exp(self.correction.predict(rows))[:, None]

    def check(self, spec: ModelSpec, device: str, runtime: str | None = None) -> None:
        """Make sure that the predictor was fitted for what it is about to be asked.

        Parameters
        ----------
        runtime
            The runtime that the latency is asked of; only its first word counts, not its version.
            None asks about whichever runtime was measured.

        Raises
        ------
        PredictorError
            Naming each difference.
        """
        pairs: list[tuple[str, object, object]] = [
            ("device", self.device, device),
            ("vocabulary size", self.vocab_size, spec.vocab_size),
            # twelve digits tell spaces apart and can be read in the message
            ("search space", fingerprint(self.space)[:12], fingerprint(spec.space)[:12]),
        ]
        pairs += self.workload.beside(spec.workload)
        if runtime is not None:
            fitted_on = runtime_family(self.card.runtime) or "unknown"
            pairs.append(("runtime", fitted_on, runtime_family(runtime)))
        different = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
        if different:
            raise PredictorError(
                f"the predictor was fitted for something else: {'; '.join(different)}; run "
                f"`mosdeploy profile --device {device} --renew`"
            )

    # -- file

    def save(self, path: Path) -> None:
        """Write the predictor as JSON, whole or not at all."""
        write_record(path, self)

    @classmethod
    def load(cls, path: Path) -> "LatencyPredictor":
        """Read a predictor.

        Raises
        ------
        StaleInputError
            If the file is missing, corrupt or of another version.
        """
        return read_record(cls, path, "mosdeploy fit")


def _latency_features(spec: ModelSpec, rows: Rows, encoding: Encoding) -> FloatArray:
    """Latency features (N, C) of rows in either encoding."""
    # genes are summed over the layers, means multiplied by their number: the same sums
    if encoding == "per_layer":
        return spec.latency_features(rows)
    return spec.latency_features_of_means(np.asarray(rows, dtype=np.float64))


def _checked(latency_ms: npt.ArrayLike, device: str, workload: str) -> FloatArray:
    """Latencies as an array (N,), or an error that says what is wrong with them."""
    latency = np.asarray(latency_ms, dtype=np.float64)
    if len(latency) < MIN_SAMPLES:
        raise PredictorError(
            f"{len(latency)} measured subnets are too few for a predictor of {device}, workload "
            f"{workload}: at least {MIN_SAMPLES} are needed; run `mosdeploy profile --device "
            f"{device} --budget 30`, or correct the predictor of another device with fewer: "
            f"`mosdeploy fit --device {device} --from OTHER`"
        )
    wrong = latency[~(np.isfinite(latency) & (latency > 0))]
    if len(wrong):
        raise PredictorError(
            f"a measured latency is {wrong[0]} ms, not a positive number; move the measurements "
            f"away and run `mosdeploy profile --device {device}` again"
        )
    return latency


# -- transfer -----------------------------------------------------------------------------------


def fit_transfer(
    space: CostedSpace, dataset: LatencyDataset, source: LatencyPredictor
) -> LatencyPredictor:
    """Correct another device's predictor by a dataset, or fit the dataset from scratch where that
    errs less on held-out subnets.
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
    scratch = None
    if num_samples >= MIN_SAMPLES:
        scratch = fit_model(
            samples.spec.latency_features(samples.genes),
            samples.latency_ms,
            samples.sample_weight,
            num_core=samples.spec.space.num_core_features,
            mlp_inputs=samples.genes.astype(np.float64),
        )
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
    spread = np.zeros((len(spec.space.feature_names), 1 + len(spec.space.overhead_features)))
    # column 0: the source's own combination, of which the fit scales the whole
    for name, coefficient in source.coefficients.items():
        if name not in spec.space.overhead_features:
            spread[spec.space.feature_names.index(name), 0] = coefficient
    # an overhead feature has a column, and so a coefficient, of its own
    for i, name in enumerate(spec.space.overhead_features, start=1):
        spread[spec.space.feature_names.index(name), i] = 1.0
    return spread
