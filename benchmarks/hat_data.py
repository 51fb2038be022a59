"""HAT's published latency data (Wang et al., ACL 2020): CSV files of ten averages and four times a
row.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mosdeploy.errors import ConfigError
from mosdeploy.latency.fitting import MIN_SAMPLES
from mosdeploy.latency.predictor import FitFacts, LatencyPredictor
from mosdeploy.latency.regression import fit_nonnegative
from mosdeploy.records import RowBlock
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.spec import FloatArray
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.storage import sha256_file

MEAN_COLUMNS = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
"""HAT's names of `TranslationSpace.mean_order`, in the same order; the last counts attended layers
from 1, as `cross_span` does.
"""

TIME_COLUMNS = ("latency_mean_encoder", "latency_mean_decoder")

LAYER_CHOICES = (
    "encoder_ffn_dim",
    "encoder_heads",
    "decoder_ffn_dim",
    "decoder_self_heads",
    "decoder_cross_heads",
)

MEAN_SLACK = 3.0
"""How many times a choice of one layer may be above the largest mean over layers in the file, or
below the smallest: means of few rows do not reach the ends.
"""

RUNTIME = "PyTorch eager (HAT's code)"
"""What HAT's `latency_dataset.py` times: its fairseq model, called layer by layer, not ONNX
Runtime.
"""


WINDOW = 11
"""Rows of the running median, and the least that make a block."""
MIN_JUMP = 0.02
MIN_JUMP_DEVIATIONS = 2.0
"""A block's time lies this far from the rest: five standard deviations of the running median of
ordinary rows.
"""


@dataclass(frozen=True)
class HatData:
    """Rows of one file, in the order of measuring."""

    name: str
    rows: FloatArray
    latency_ms: FloatArray
    sha256: str

    def __getitem__(self, part: slice) -> "HatData":
        """Some of the rows, in order."""
        return replace(self, rows=self.rows[part], latency_ms=self.latency_ms[part])


def read_hat(path: Path) -> HatData:
    """Read a CSV file in HAT's format."""
    wanted = MEAN_COLUMNS + TIME_COLUMNS
    try:
        # newline="": the csv module finds the ends of lines itself
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            # fieldnames is None for an empty file
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(
                    f"{path} is not in HAT's format: no column {', '.join(missing)} in its first "
                    "line"
                )
            table = [
                # None where a row has fewer columns than the first line
                [_number(row[name], name, f"{path}, line {reader.line_num}") for name in wanted]
                for row in reader
            ]
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not a CSV text file: {error}") from error
    if not table:
        raise ConfigError(f"{path} holds no rows under its first line")
    # (N, 12): the means, then encoder and decoder in milliseconds
    data = np.array(table)
    return HatData(
        name=path.name,
        rows=data[:, : len(MEAN_COLUMNS)],
        latency_ms=data[:, len(MEAN_COLUMNS) :].sum(axis=1),
        sha256=sha256_file(path),
    )


def fit_hat(
    data: HatData,
    spec: ModelSpec,
    *,
    device: str,
    try_mlp: bool = True,
    source: str = "",
    licence: str = "",
) -> LatencyPredictor:
    """Fit a predictor on HAT's data without the blocks that were measured at another speed."""
    if len(data.rows) < MIN_SAMPLES:
        raise ConfigError(
            f"{data.name} holds {len(data.rows)} rows; a fit needs at least {MIN_SAMPLES}"
        )
    _check_range(data, spec)
    features = spec.latency_features_of_means(data.rows)
    # on all rows, in the order of the file, which is that of measuring
    blocks = find_outlier_blocks(features, data.latency_ms, spec.space.num_core_features)
    kept = rows_outside(blocks, len(data.rows))
    # without weights: the file says nothing of any drift
    return LatencyPredictor.fit(
        spec,
        data.rows[kept],
        data.latency_ms[kept],
        facts=FitFacts(
            device=device,
            runtime=RUNTIME,
            left_out=blocks,
            dataset_sha256=data.sha256,
            source=source or data.name,
            licence=licence,
        ),
        # the file has means over layers, no choice of a single layer
        encoding="aggregated",
        try_mlp=try_mlp,
    )


def _check_range(data: HatData, spec: ModelSpec) -> None:
    """Refuse a space of other widths or depths: its latency would be a guess far outside of the
    data.
    """
    # only what one architecture has once: a mean of FFN widths or heads is not one of their choices
    for name in ("encoder_embed_dim", "encoder_layers", "decoder_embed_dim", "decoder_layers"):
        column = TranslationSpace.mean_order.index(name)
        # whole numbers, although they are read as floats
        found = sorted({int(value) for value in data.rows[:, column]})
        missing = sorted(set(getattr(spec.space, name)) - set(found))
        if missing:
            raise ConfigError(
                f"{data.name} was measured in another space: no row has {name} {missing[0]}, only "
                f"{', '.join(map(str, found))}; change [space] in mosdeploy.toml (HAT's is in "
                "recipe wmt14.en-de)"
            )
    # of what each layer has, the file has means, which lie between the ends
    for name in LAYER_CHOICES:
        means = data.rows[:, TranslationSpace.mean_order.index(name)]
        least, most = means.min() / MEAN_SLACK, means.max() * MEAN_SLACK
        outside = [x for x in sorted(getattr(spec.space, name)) if not least <= x <= most]
        if outside:
            raise ConfigError(
                f"{data.name} was measured in another space: its rows have {name} from "
                f"{means.min():g} to {means.max():g} in the mean, not {outside[0]}; change "
                "[space] in mosdeploy.toml (HAT's is in recipe wmt14.en-de)"
            )


def _number(text: str | None, name: str, place: str) -> float:
    """Read one value; `place` names file and line for the message."""
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    # float() also takes "nan" and "inf"
    if not (np.isfinite(value) and value > 0):
        raise ConfigError(f"{place}: {name} is {text!r}; it must be a positive number")
    return value


def find_outlier_blocks(
    features: FloatArray, latency_ms: FloatArray, num_core: int
) -> tuple[RowBlock, ...]:
    """Find the runs of rows whose latency is off by a common factor."""
    if len(latency_ms) < 4 * WINDOW:
        return ()
    model = fit_nonnegative(features, latency_ms, num_features=num_core)
    # in logs a common factor is a shift; (N,)
    residual = np.log(latency_ms / model.predict(features))
    # the rows that the fit kept are the ordinary ones
    residual -= np.median(residual[model.weights > 0])
    # 1.4826 makes it a standard deviation, if the noise is Gaussian
    deviation = 1.4826 * float(np.median(np.abs(residual)))
    threshold = max(MIN_JUMP, MIN_JUMP_DEVIATIONS * deviation)
    # a running median passes over single bad rows and keeps the edges of a block
    padded = np.pad(residual, WINDOW // 2, mode="reflect")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    return tuple(
        RowBlock(start=start, stop=stop, time_ratio=float(np.exp(np.median(residual[start:stop]))))
        for start, stop in _runs(np.abs(smooth) > threshold)
        if stop - start >= WINDOW
    )


def rows_outside(blocks: tuple[RowBlock, ...], num_rows: int) -> npt.NDArray[np.bool_]:
    """Mask (num_rows,) of the rows in no block."""
    outside = np.ones(num_rows, dtype=np.bool_)
    for block in blocks:
        outside[block.start : block.stop] = False
    return outside


def _runs(marked: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row of each run of marked rows, and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
