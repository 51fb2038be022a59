import numpy as np
import pytest
from mosdeploy.spaces.latency_features import (
    FEATURE_NAMES,
    independent,
    latency_features,
    sums_from_aggregates,
    sums_from_genes,
)

from mosdeploy.spaces.costs import num_macs
from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
    TranslationWorkload,
)

VOCAB_SIZE = 500


def columns_of(space, workload, genes):
    return latency_features(sums_from_genes(space, genes), space.qkv_dim, workload, VOCAB_SIZE)


def test_hand_worked_columns_of_one_layer_each(space):
    arch = TranslationArch(
        encoder_embed_dim=32,
        decoder_embed_dim=64,
        encoder_layers=(EncoderLayerConfig(ffn_dim=128, heads=4),),
        decoder_layers=(DecoderLayerConfig(ffn_dim=64, self_heads=2, cross_heads=4, cross_span=1),),
    )
    workload = TranslationWorkload(source_len=10, decode_steps=5, beam=2)
    row = columns_of(space, workload, space.genes([arch]))[0]
    assert dict(zip(FEATURE_NAMES, row, strict=True)) == pytest.approx(
        {
            "constant": 1,
            "decoder_layers": 1,
            "encoder_layers": 1,
            "encoder_projection_macs": 4 * 10 * 32 * 32 * 1e-6,
            "encoder_ffn_macs": 2 * 10 * 32 * 128 * 1e-6,
            "decoder_projection_macs": 6 * 2 * 5 * 64 * 32 * 1e-6,
            "decoder_ffn_macs": 2 * 2 * 5 * 64 * 64 * 1e-6,
            "logits_macs": 2 * 5 * 500 * 64 * 1e-6,
            "cross_score_macs": 2 * 2 * 5 * 10 * 32 * 1e-6,
            "cross_memory_macs": 2 * 10 * 32 * 32 * 1e-6,
            "encoder_ffn_width": 10 * 128 * 1e-3,
            "decoder_ffn_width": 2 * 5 * 64 * 1e-3,
            "encoder_heads": 4,
            "decoder_self_heads": 2,
            "decoder_cross_heads": 4,
        }
    )


def test_the_mac_columns_add_up_to_the_macs_of_the_space(space, workload):
    rng = np.random.default_rng(1)
    archs = [space.sample(rng) for _ in range(50)]
    columns = columns_of(space, workload, space.genes(archs))
    macs = 1e6 * columns[
        :, [i for i, name in enumerate(FEATURE_NAMES) if name.endswith("_macs")]
    ].sum(axis=1)
    s, t, beam, q = workload.source_len, workload.decode_steps, workload.beam, space.qkv_dim
    macs += 2 * s * s * q * columns[:, FEATURE_NAMES.index("encoder_layers")]
    macs += beam * t * (t + 1) * q * columns[:, FEATURE_NAMES.index("decoder_layers")]
    exact = [num_macs(space, arch, VOCAB_SIZE, s, t, beam) for arch in archs]
    np.testing.assert_allclose(macs, exact, rtol=1e-12)


def test_averages_and_gene_rows_give_the_same_columns(space, draw):
    genes = draw(50, seed=2)
    np.testing.assert_allclose(
        sums_from_aggregates(space.aggregate_genes(genes)),
        sums_from_genes(space, genes),
        rtol=1e-12,
    )


def test_the_columns_are_independent_in_a_space_that_varies_everything(space, workload, draw):
    assert len(independent(columns_of(space, workload, draw(300, seed=3)))) == len(FEATURE_NAMES)


def test_what_a_space_does_not_vary_is_left_out(workload):
    fixed = TranslationSpace(
        encoder_embed_dim=(64,),
        decoder_embed_dim=(64,),
        encoder_layers=(2,),
        decoder_layers=(1, 2, 3),
        encoder_ffn_dim=(128,),
        decoder_ffn_dim=(64, 128),
        encoder_heads=(2,),
        decoder_self_heads=(2,),
        decoder_cross_heads=(2,),
        qkv_dim=32,
    )
    rng = np.random.default_rng(0)
    genes = fixed.genes([fixed.sample(rng) for _ in range(100)])
    assert [FEATURE_NAMES[i] for i in independent(columns_of(fixed, workload, genes))] == [
        "constant",
        "decoder_layers",
        "decoder_ffn_macs",
    ]
