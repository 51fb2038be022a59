"""What costs time in one run of an encoder, as numbers that a latency predictor weighs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .encoder_workload import EncoderWorkload
from .spec import FloatArray

FEATURE_NAMES = (
    "constant",
    "layers",
    "projection_macs",
    "ffn_macs",
    "score_macs",
    "ffn_width",
    "heads",
)


@dataclass(frozen=True)
class LayerWidths:
    """The layers of N encoders.

    Attributes
    ----------
    counts
        How many layers there are of each kind, (N, L); 0 for one that does not exist.
    dim, attention_dim, ffn_dim
        Width of the states inside a layer, of its queries, keys or values, and of its FFN, (N, L).
    heads
        Number of heads, (N, L).
    outer_dim
        Width of the states between layers, (N, 1), where a linear layer on either side of each
        layer joins it with `dim`; None where there are none.
    reads_first
        Whether of a layer's output only the first position of each text is read, (N, L) or (1, 1).
    """

    counts: FloatArray
    dim: FloatArray
    attention_dim: FloatArray
    ffn_dim: FloatArray
    heads: FloatArray
    outer_dim: FloatArray | None
    reads_first: npt.NDArray[np.bool_]

    def total(self, values: FloatArray) -> FloatArray:
        """Sum over the layers of each encoder: (N, L) to (N,)."""
        totals: FloatArray = (self.counts * values).sum(axis=1)
        return totals


def latency_features(layers: LayerWidths, workload: EncoderWorkload) -> FloatArray:
    """What costs time, in units of 10^6 multiply-accumulates, 10^3 elements, layers or heads."""
    rows = workload.batch * workload.input_len
    # of a layer of which the first position is read, all others need keys and values alone
    read = np.where(layers.reads_first, workload.batch, rows)
    projections = 2 * layers.dim * layers.attention_dim * (rows + read)
    if layers.outer_dim is not None:
        projections = projections + layers.outer_dim * layers.dim * (rows + read)
    ffn_elements = layers.ffn_dim * read
    return np.stack(
        [
            np.ones(len(layers.counts)),
            layers.counts.sum(axis=1),
            1e-6 * layers.total(projections),
            2e-6 * layers.total(layers.dim * ffn_elements),
            2e-6 * workload.input_len * layers.total(layers.attention_dim * read),
            1e-3 * layers.total(ffn_elements),
            layers.total(layers.heads),
        ],
        axis=1,
    )
