"""HAT's published latency data (Wang et al., ACL 2020): CSV files of ten averages and four times a row.

In: a CSV file. Out: `HatData`, whose rows are samples of a predictor with the aggregated encoding. Some of the
published rows were taken while the device was throttled; `fit_hat` finds those blocks (blocks.py) and leaves them out.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import Workload
from ..errors import ConfigError
from ..space import AGGREGATE_NAMES, SearchSpace
from ..workspace import sha256_file
from .blocks import Block, find_blocks, rows_outside
from .columns import FloatArray, physical_columns, sums_from_aggregates
from .predictor import LatencyPredictor

FEATURE_COLUMNS = (
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
"""HAT's names of `space.AGGREGATE_NAMES`, in the same order; the last counts attended layers from 1, as ours does."""

TIME_COLUMNS = ("latency_mean_encoder", "latency_mean_decoder")


@dataclass(frozen=True)
class HatData:
    """One file: averages (N, 10), encoder and decoder time (N,) in milliseconds, in the order of measuring."""

    rows: FloatArray
    encoder_ms: FloatArray
    decoder_ms: FloatArray
    sha256: str

    @property
    def latency_ms(self) -> FloatArray:
        """Latency of the whole translation, shape (N,)."""
        return self.encoder_ms + self.decoder_ms

    def __getitem__(self, part: slice) -> "HatData":
        """Some of the rows, in order."""
        return HatData(self.rows[part], self.encoder_ms[part], self.decoder_ms[part], self.sha256)


def read_hat(path: Path) -> HatData:
    """Read a CSV file in HAT's format.

    Raises
    ------
    ConfigError
        If the file is missing, is not text, lacks a column, holds no rows, or a value is not a positive number; names
        the line and the column.
    """
    wanted = FEATURE_COLUMNS + TIME_COLUMNS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path} is not in HAT's format: no column {', '.join(missing)} in its first line")
            table = [[_number(row[name], path, reader.line_num, name) for name in wanted] for row in reader]
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not a CSV text file: {error}") from error
    if not table:
        raise ConfigError(f"{path} holds no rows under its first line")
    data = np.array(table)
    num_features = len(AGGREGATE_NAMES)
    return HatData(data[:, :num_features], data[:, num_features], data[:, num_features + 1], sha256_file(path))


def fit_hat(
    data: HatData,
    space: SearchSpace,
    workload: Workload,
    vocab_size: int,
    *,
    device: str,
    runtime: str,
    try_mlp: bool = True,
    source: str = "",
    licence: str = "",
) -> tuple[LatencyPredictor, tuple[Block, ...]]:
    """Fit a predictor on HAT's data without the blocks that were measured at another speed.

    Parameters
    ----------
    space
        The space that the predictor will be asked about; the ten averages say nothing of its fixed widths.

    Returns
    -------
    The predictor, and the blocks that were left out.

    Raises
    ------
    PredictorError
        If too few rows are left.
    """
    columns = physical_columns(sums_from_aggregates(data.rows), space.qkv_dim, workload, vocab_size)
    blocks = find_blocks(columns, data.latency_ms)
    kept = rows_outside(blocks, len(data.rows))
    predictor = LatencyPredictor.fit(
        space,
        workload,
        vocab_size,
        data.rows[kept],
        data.latency_ms[kept],
        device=device,
        runtime=runtime,
        encoding="aggregated",
        try_mlp=try_mlp,
        num_left_out=int(np.count_nonzero(~kept)),
        dataset_sha256=data.sha256,
        source=source,
        licence=licence,
    )
    return predictor, blocks


def _number(text: str | None, path: Path, line: int, name: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value > 0):
        raise ConfigError(f"{path}, line {line}: {name} is {text!r}; it must be a positive number")
    return value
