"""What costs time in a Transformer, summed over its layers: the columns of the additive latency model.

In: a population, as gene rows or as HAT's ten averages. Out: one column a cost, in units of 10^6 multiply-accumulates,
10^3 elements, layers or heads. Nothing here belongs to one search space: a column that a space does not vary is found
to be dependent (`independent`) and left out.

At batch 1 the bytes of the weights that a step reads are proportional to its multiply-accumulates, layer kind by layer
kind, so a column stands for both; the coefficient that is fitted to it holds whichever is slower on the device.
"""

import numpy as np
import numpy.typing as npt

from .spec import Workload
from .translation import SearchSpace

FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""A population: gene rows, or HAT's averages."""

SUM_NAMES = (
    "encoder_embed_dim",
    "encoder_layers",
    "encoder_ffn_dim",
    "encoder_heads",
    "decoder_embed_dim",
    "decoder_layers",
    "decoder_ffn_dim",
    "decoder_self_heads",
    "decoder_cross_heads",
    "cross_span",
)
"""Fields of a gene row, each summed over its layers, in the order of HAT's averages."""

FEATURE_NAMES = (
    "constant",
    "decoder_layers",
    "encoder_layers",
    "encoder_projection_macs",
    "encoder_ffn_macs",
    "decoder_projection_macs",
    "decoder_ffn_macs",
    "logits_macs",
    "cross_score_macs",
    "cross_memory_macs",
    "encoder_ffn_width",
    "decoder_ffn_width",
    "encoder_heads",
    "decoder_self_heads",
    "decoder_cross_heads",
)
NUM_CORE_FEATURES = 9
"""The first columns carry nearly all of the time; a fit on few samples uses only these."""


def sums_from_genes(space: SearchSpace, genes: Rows) -> FloatArray:
    """Sum each field over the layers: canonical gene rows (N, num_genes) to (N, 10)."""
    selector = np.zeros((space.num_genes, len(SUM_NAMES)))
    for i, name in enumerate(SUM_NAMES):
        selector[space.gene_slices[name], i] = 1.0
    return np.asarray(genes, dtype=np.float64) @ selector


def sums_from_aggregates(rows: Rows) -> FloatArray:
    """Turn HAT's averages (N, 10), unscaled, into sums over layers (N, 10)."""
    sums = np.array(rows, dtype=np.float64)
    sums[:, 2:4] *= sums[:, 1:2]
    sums[:, 6:10] *= sums[:, 5:6]
    return sums


def latency_features(sums: FloatArray, qkv_dim: int, workload: Workload, vocab_size: int) -> FloatArray:
    """Compute the columns of a population.

    The scores of self-attention are proportional to the layer columns and have none of their own; with them
    (2 * source_len^2 * qkv_dim an encoder layer, beam * steps * (steps + 1) * qkv_dim a decoder layer) the `_macs`
    columns add up to `SearchSpace.num_macs`.

    Parameters
    ----------
    sums
        Shape (N, 10), in the order of `SUM_NAMES`.
    qkv_dim
        The fixed query, key and value width of the space.
    workload
        Source length, decode steps and beam.
    vocab_size
        Rows of the output projection.

    Returns
    -------
    Array of shape (N, 15), in the order of `FEATURE_NAMES`; not negative.
    """
    e, layers_e, ffn_e, heads_e, d, layers_d, ffn_d, heads_self, heads_cross, span = sums.T
    q, source, rows = qkv_dim, workload.source_len, workload.beam * workload.decode_steps
    columns = np.empty((len(sums), len(FEATURE_NAMES)))
    columns[:, 0] = 1.0
    columns[:, 1] = layers_d
    columns[:, 2] = layers_e
    columns[:, 3] = (4e-6 * source * q) * e * layers_e
    columns[:, 4] = (2e-6 * source) * e * ffn_e
    columns[:, 5] = (6e-6 * rows * q) * d * layers_d
    columns[:, 6] = (2e-6 * rows) * d * ffn_d
    columns[:, 7] = (1e-6 * rows * vocab_size) * d
    columns[:, 8] = (2e-6 * rows * source * q) * span
    columns[:, 9] = (2e-6 * source * q) * e * span
    columns[:, 10] = (1e-3 * source) * ffn_e
    columns[:, 11] = (1e-3 * rows) * ffn_d
    columns[:, 12] = heads_e
    columns[:, 13] = heads_self
    columns[:, 14] = heads_cross
    return columns


def independent(columns: FloatArray, tolerance: float = 1e-3) -> list[int]:
    """Indices of columns that are not combinations of earlier ones, in order.

    Parameters
    ----------
    columns
        Shape (N, C), not negative.
    tolerance
        Share of a column's length that has to remain once earlier columns are projected out.
    """
    basis: list[FloatArray] = []
    kept = []
    for i in range(columns.shape[1]):
        length = float(np.linalg.norm(columns[:, i]))
        rest = columns[:, i] / length if length > 0 else np.zeros(len(columns))
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            for direction in basis:
                rest = rest - (direction @ rest) * direction
        size = float(np.linalg.norm(rest))
        if size > tolerance:
            basis.append(rest / size)
            kept.append(i)
    return kept
