"""The latency predictor: fitted on a few dozen measured subnets, asked for millions.

In: a latency dataset, or arrays. Out: milliseconds for a population, an interval around them, a
card that says how far off they were on rows that the fit had not seen, and one JSON file. This file
measures nothing and searches nothing.

latency = additive model (columns.py, additive.py) * exp(correction of an MLP ensemble (mlp.py), if
it helps)
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..errors import PredictorError
from ..record import Record
from ..records import BoardCalibration, PredictorCard, RowBlock
from ..regression.mlp import Finite, Matrix, MlpEnsemble
from ..spaces.genes import GeneArray, SearchSpace
from ..spaces.latency_features import (
    FEATURE_NAMES,
    FloatArray,
    Rows,
    latency_features,
    sums_from_aggregates,
    sums_from_genes,
)
from ..spaces.spec import Workload
from ..storage import fingerprint, read_record, write_record
from .dataset import LatencyDataset, runtime_family
from .fitting import MIN_SAMPLES, CrossValidation, fit_model

Encoding = Literal["per_layer", "aggregated"]
CHUNK = 16_384
"""Rows at a time, so that their columns stay in the processor's cache."""


class LatencyPredictor(Record):
    """What was fitted, for which space, workload and device, and how good it is.

    Attributes
    ----------
    encoding
        What the samples looked like: gene rows, or HAT's ten averages (`space.AGGREGATE_NAMES`).
    coefficients
        Milliseconds a unit of each column in use (columns.py), all positive.
    covariance
        Inverse of the weighted Gram matrix of the relative columns in use, in the same order; for
        the interval.
    interval
        Half width of the 90% interval in log latency, for a row with no leverage.
    """

    version: Literal[1] = 1
    space: SearchSpace
    workload: Workload
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
        unknown = set(self.coefficients) - set(FEATURE_NAMES)
        if unknown or not self.coefficients:
            raise ValueError(f"coefficients must name columns of the model, not {sorted(unknown)}")
        if any(len(row) != len(self.coefficients) for row in (self.covariance, *self.covariance)):
            raise ValueError("covariance must be square, one row a coefficient")
        return self

    # -- fit ---------------------------------------------------------------------------------------
    # -------------

    @classmethod
    def fit(
        cls,
        space: SearchSpace,
        workload: Workload,
        vocab_size: int,
        rows: Rows,
        latency_ms: npt.ArrayLike,
        sample_weight: FloatArray | None = None,
        *,
        device: str,
        runtime: str = "",
        encoding: Encoding = "per_layer",
        try_mlp: bool = True,
        left_out: tuple[RowBlock, ...] = (),
        boards: tuple[BoardCalibration, ...] = (),
        dataset_sha256: str = "",
        source: str = "",
        licence: str = "",
    ) -> "LatencyPredictor":
        """Fit the additive model, and the MLP ensemble on what it leaves where cross-validation
        says that it helps.

        Parameters
        ----------
        rows
            Canonical gene rows (N, num_genes), or with `encoding="aggregated"` HAT's averages (N,
            10).
        latency_ms
            Shape (N,), positive.
        sample_weight
            Shape (N,), in (0, 1]: variance of a quiet measurement over that of this one; None
            trusts all alike.
        try_mlp
            Train the ensemble at all: takes seconds where the additive model takes hundredths.
        left_out
            Throttled blocks that the caller found and left out beforehand, for the card.
        boards
            Boards of a fleet by whose levels the latencies were divided, for the card.

        Raises
        ------
        PredictorError
            With fewer than `MIN_SAMPLES` rows, or a latency that is not a positive number.
        """
        latency = _checked(latency_ms, device, workload)
        columns = _columns(space, workload, vocab_size, rows, encoding)
        fitted = fit_model(
            columns, np.asarray(rows, dtype=np.float64), latency, sample_weight, try_mlp=try_mlp
        )
        facts = {
            "runtime": runtime,
            "dataset_sha256": dataset_sha256,
            "source": source,
            "licence": licence,
        }
        options: dict[str, Any] = {
            "device": device,
            "encoding": encoding,
            "left_out": left_out,
            **facts,
        }
        options["boards"] = boards
        return cls.assemble(fitted, space, workload, vocab_size, **options)

    @classmethod
    def fit_dataset(cls, space: SearchSpace, dataset: LatencyDataset) -> "LatencyPredictor":
        """Fit on every subnet of a dataset whose measurement has a time (median of the whole
        translation).

        Raises
        ------
        PredictorError
            With too few measured subnets, and as `LatencyDataset.samples`.
        StaleInputError
            As `LatencyDataset.samples`.
        """
        context, samples = dataset.context, dataset.samples(space)
        return cls.fit(
            space,
            context.workload,
            context.vocab_size,
            samples.genes,
            samples.latency_ms,
            samples.sample_weight,
            device=context.device.name,
            runtime=samples.runtime,
            boards=dataset.boards,
            dataset_sha256=dataset.sha256,
        )

    @classmethod
    def assemble(
        cls,
        fitted: CrossValidation,
        space: SearchSpace,
        workload: Workload,
        vocab_size: int,
        *,
        device: str,
        encoding: Encoding,
        left_out: tuple[RowBlock, ...] = (),
        **facts: Any,
    ) -> "LatencyPredictor":
        """Make a predictor of what was fitted; `facts` are further fields of its card."""
        model = fitted.model
        card = PredictorCard(
            device=device,
            workload=workload.name,
            space_sha256=fingerprint(space),
            num_samples=len(model.weights),
            num_rejected=sum(b.stop - b.start for b in left_out)
            + int(np.count_nonzero(model.weights == 0)),
            uses_mlp=fitted.correction is not None,
            trusted_mape_percent=fitted.trusted_mape_percent,
            left_out=left_out,
            **vars(fitted.errors),
            **facts,
        )
        return cls(
            space=space,
            workload=workload,
            vocab_size=vocab_size,
            device=device,
            encoding=encoding,
            coefficients={FEATURE_NAMES[i]: float(model.coefficients[i]) for i in model.used},
            covariance=tuple(tuple(row) for row in model.covariance.tolist()),
            interval=fitted.interval,
            correction=fitted.correction,
            card=card,
        )

    # -- predict -----------------------------------------------------------------------------------
    # -------------

    def predict(self, genes: GeneArray) -> FloatArray:
        """Latency in milliseconds of shape (N,) from canonical gene rows of shape (N, num_genes)."""
        return self.predict_rows(self.to_rows(genes))

    def to_rows(self, genes: GeneArray) -> Rows:
        """Gene rows (N, num_genes) in the encoding that the predictor was fitted on."""
        return genes if self.encoding == "per_layer" else self.space.aggregate_genes(genes)

    def predict_rows(self, rows: Rows) -> FloatArray:
        """Latency in milliseconds of shape (N,) from rows in the encoding that the predictor was
        fitted on.
        """
        latency = np.empty(len(rows))
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            latency[part] = self._columns(rows[part]) @ self._weights
            if self.correction is not None:
                latency[part] *= np.exp(self.correction.predict(rows[part])[0])
        return latency

    def corrected_columns(self, rows: Rows) -> FloatArray:
        """Every column of the additive model, times the ensemble's correction, of shape (N, 15).

        SelectedSubnet by the coefficients they add up to what `predict_rows` returns.
        """
        columns = _columns(self.space, self.workload, self.vocab_size, rows, self.encoding)
        return (
            columns
            if self.correction is None
            else columns * np.exp(self.correction.predict(rows)[0])[:, None]
        )

    def predict_interval(self, genes: GeneArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end, in milliseconds, of an interval that holds about nine in ten
        measurements.

        The half width in log latency is the 90% quantile of the cross-validated errors, wider for a
        subnet unlike the measured ones (by its leverage) and where the members of the ensemble
        disagree.

        Parameters
        ----------
        genes
            Canonical gene rows of shape (N, num_genes).
        """
        rows = self.to_rows(genes)
        columns = self._columns(rows)
        relative = columns / (columns @ self._weights)[:, None]
        leverage = np.einsum("ij,jk,ik->i", relative, np.array(self.covariance), relative)
        half = self.interval * np.sqrt(1.0 + leverage)
        if self.correction is not None:
            half = np.hypot(half, 1.645 * self.correction.predict(rows)[1])
        latency = self.predict_rows(rows)
        return latency * np.exp(-half), latency * np.exp(half)

    def check(
        self,
        space: SearchSpace,
        workload: Workload,
        vocab_size: int,
        device: str,
        runtime: str | None = None,
    ) -> None:
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
            ("vocabulary size", self.vocab_size, vocab_size),
            ("search space", fingerprint(self.space)[:12], fingerprint(space)[:12]),
        ]
        pairs += [
            (f"workload.{k}", v, getattr(workload, k))
            for k, v in self.workload.model_dump().items()
        ]
        if runtime is not None:
            pairs.append(
                ("runtime", runtime_family(self.card.runtime) or "unknown", runtime_family(runtime))
            )
        different = [f"{name} was {old}, is {new}" for name, old, new in pairs if old != new]
        if different:
            raise PredictorError(
                f"the predictor was fitted for something else: {'; '.join(different)}; run "
                f"`mosdeploy profile --device {device}` and `mosdeploy fit --device {device}`"
            )

    # -- file --------------------------------------------------------------------------------------
    # -------------

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

    # -- inner -------------------------------------------------------------------------------------
    # -------------

    @property
    def _used(self) -> list[int]:
        return [FEATURE_NAMES.index(name) for name in self.coefficients]

    @property
    def _weights(self) -> FloatArray:
        return np.array(list(self.coefficients.values()))

    def _columns(self, rows: Rows) -> FloatArray:
        return _columns(self.space, self.workload, self.vocab_size, rows, self.encoding)[
            :, self._used
        ]


def _columns(
    space: SearchSpace, workload: Workload, vocab_size: int, rows: Rows, encoding: Encoding
) -> FloatArray:
    sums = sums_from_genes(space, rows) if encoding == "per_layer" else sums_from_aggregates(rows)
    return latency_features(sums, space.qkv_dim, workload, vocab_size)


def _checked(latency_ms: npt.ArrayLike, device: str, workload: Workload) -> FloatArray:
    latency = np.asarray(latency_ms, dtype=np.float64)
    if len(latency) < MIN_SAMPLES:
        raise PredictorError(
            f"{len(latency)} measured subnets are too few for a predictor of {device}, workload {workload.name}: "
            f"at least {MIN_SAMPLES} are needed; run `mosdeploy profile --device {device} --budget 30`, or correct the "
            f"predictor of another device with fewer: `mosdeploy fit --device {device} --from OTHER`"
        )
    if not (np.isfinite(latency).all() and (latency > 0).all()):
        raise PredictorError(
            "a measured latency is not a positive number of milliseconds; profile again"
        )
    return latency
