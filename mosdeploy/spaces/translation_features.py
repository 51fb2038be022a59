"""What costs time in one translation, as numbers that a latency predictor weighs."""

import numpy as np

from .spec import FloatArray
from .translation_workload import TranslationWorkload

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


def latency_features(
    sums: FloatArray, qkv_dim: int, vocab_size: int, workload: TranslationWorkload
) -> FloatArray:
    """What costs time in one translation, in units of 10^6 multiply-accumulates, 10^3 elements,
    layers or heads.
    """
    e, layers_e, ffn_e, heads_e, d, layers_d, ffn_d, heads_self, heads_cross, span = sums.T
    q = qkv_dim
    source = workload.source_len
    rows = workload.beam * workload.decode_steps
    features = np.empty((len(sums), len(FEATURE_NAMES)))
    features[:, 0] = 1.0
    features[:, 1] = layers_d
    features[:, 2] = layers_e
    features[:, 3] = (4e-6 * source * q) * e * layers_e
    features[:, 4] = (2e-6 * source) * e * ffn_e
    features[:, 5] = (6e-6 * rows * q) * d * layers_d
    features[:, 6] = (2e-6 * rows) * d * ffn_d
    features[:, 7] = (1e-6 * rows * workload.num_scored(vocab_size)) * d
    features[:, 8] = (2e-6 * rows * source * q) * span
    features[:, 9] = (2e-6 * source * q) * e * span
    features[:, 10] = (1e-3 * source) * ffn_e
    features[:, 11] = (1e-3 * rows) * ffn_d
    features[:, 12] = heads_e
    features[:, 13] = heads_self
    features[:, 14] = heads_cross
    return features
