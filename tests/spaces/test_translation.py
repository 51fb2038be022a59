from dataclasses import replace

import numpy as np
import pytest
from example_spaces import SMALL_ARCH, TINY, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.translation import (
    FEATURE_NAMES,
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
    TranslationWorkload,
)

SPEC = ModelSpec(TINY, 10, TranslationWorkload(source_len=3, decode_steps=2))


# -- laws


@settings(max_examples=40)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_features_and_self_attention_scores_make_the_macs(
    space: TranslationSpace, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    source_len, decode_steps, beam = (int(x) for x in rng.integers(1, 12, 3))
    workload = TranslationWorkload(
        source_len=source_len,
        decode_steps=decode_steps,
        beam=beam,
        shortlist=int(rng.choice([0, 5])),
    )
    spec = ModelSpec(space, int(rng.integers(10, 1000)), workload)
    arch = space.sample(rng)
    features = dict(
        zip(FEATURE_NAMES, spec.latency_features(spec.gene_rows([arch]))[0], strict=True)
    )
    macs = 1e6 * sum(value for name, value in features.items() if name.endswith("_macs"))
    scores = sum(
        product.num_macs
        for product in spec.inventory(arch).products
        if ".self_attn." in product.name and product.matrix == "activation"
    )
    assert macs + scores == pytest.approx(spec.num_macs(arch), rel=1e-12)
    assert features["encoder_layers"] == len(arch.encoder_layers)
    assert features["decoder_layers"] == len(arch.decoder_layers)


# -- numbers worked by hand


def test_gene_row_by_hand() -> None:
    assert TINY.to_genes(SMALL_ARCH).tolist() == [4, 6, 1, 1, 3, 0, 2, 0, 5, 0, 2, 0, 4, 0, 1, 0]
    assert TINY.genes([SMALL_ARCH, SMALL_ARCH]).shape == (2, 16)
    assert TINY.genes([]).shape == (0, 16)


def test_aggregates_by_hand() -> None:
    deep = SMALL_ARCH.model_copy(
        update={
            "encoder_layers": (
                EncoderLayerConfig(ffn_dim=3, heads=1),
                EncoderLayerConfig(ffn_dim=5, heads=2),
            )
        }
    )
    means = TINY.aggregate_genes(TINY.genes([deep]))
    assert means.tolist() == [[4, 2, 4.0, 1.5, 6, 1, 5.0, 2.0, 4.0, 1.0]]


def test_span_that_a_shallow_encoder_cuts_short_is_written_once() -> None:
    row = TINY.to_genes(SMALL_ARCH)
    row[TINY.gene_slices["cross_span"].start] = 2
    assert TINY.from_genes(row) == SMALL_ARCH


def test_number_of_parameters_by_hand() -> None:
    embedding = 10 * 6
    # q 4*8+8, k and v the same, out 8*4+4; FFN 4-3-4; two norms
    encoder = (40 + 80 + 36) + (15 + 16) + 2 * 2 * 4
    self_attention = 56 + 112 + 54  # q 6*8+8, k and v, out 8*6+6
    cross_attention = 56 + 80 + 54  # k and v read the encoder's 4 columns
    decoder = self_attention + cross_attention + (35 + 36) + 3 * 2 * 6
    assert SPEC.num_parameters(SMALL_ARCH) == embedding + encoder + decoder == 782
    pre_norm = replace(SPEC, space=TINY.model_copy(update={"norm": "pre"}))
    assert pre_norm.num_parameters(SMALL_ARCH) == 782 + 2 * 4 + 2 * 6


def test_number_of_macs_by_hand() -> None:
    # projections, FFN; scores and mixed values over three positions
    encoder = 3 * (4 * 4 * 8 + 2 * 4 * 3) + 2 * 3 * 3 * 8
    cross_memory = 2 * 3 * 4 * 8  # keys and values of three positions
    projections = 2 * (4 * 6 * 8 + 2 * 6 * 8 + 2 * 6 * 5)
    attention = 2 * (1 + 2) * 8 + 2 * 2 * 3 * 8  # self over one and two positions, cross over three
    logits = 2 * 10 * 6
    decoder = projections + attention + logits
    assert SPEC.num_macs(SMALL_ARCH) == encoder + cross_memory + decoder == 1752
    beam = SPEC.with_workload(beam=2)
    assert beam.num_macs(SMALL_ARCH) == encoder + cross_memory + 2 * decoder


def test_latency_features_by_hand() -> None:
    spec = SPEC.with_workload(source_len=10, decode_steps=5, beam=2)
    row = spec.latency_features(spec.gene_rows([SMALL_ARCH]))[0]
    assert dict(zip(FEATURE_NAMES, row, strict=True)) == pytest.approx(
        {
            "constant": 1,
            "decoder_layers": 1,
            "encoder_layers": 1,
            "encoder_projection_macs": 4 * 10 * 4 * 8 * 1e-6,
            "encoder_ffn_macs": 2 * 10 * 4 * 3 * 1e-6,
            "decoder_projection_macs": 6 * 2 * 5 * 6 * 8 * 1e-6,
            "decoder_ffn_macs": 2 * 2 * 5 * 6 * 5 * 1e-6,
            "logits_macs": 2 * 5 * 10 * 6 * 1e-6,
            "cross_score_macs": 2 * 2 * 5 * 10 * 8 * 1e-6,
            "cross_memory_macs": 2 * 10 * 4 * 8 * 1e-6,
            "encoder_ffn_width": 10 * 3 * 1e-3,
            "decoder_ffn_width": 2 * 5 * 5 * 1e-3,
            "encoder_heads": 2,
            "decoder_self_heads": 2,
            "decoder_cross_heads": 4,
        }
    )


def test_timing_stages_by_hand() -> None:
    total, encoder, decoder = SPEC.timing_stages()
    source, max_steps, min_steps = total.inputs
    assert (source.name, source.shape, source.low, source.high) == ("source_ids", (1, 3), 4, 10)
    assert [max_steps.name, min_steps.name] == ["max_steps", "min_steps"]
    assert max_steps.value == min_steps.value == 2
    assert [x.value for x in encoder.inputs[1:]] == [0, 0]
    assert (decoder.name, decoder.inputs, decoder.minus) == ("decoder", (), "encoder")


# -- what is refused


def test_span_past_the_encoder() -> None:
    data = SMALL_ARCH.model_dump(mode="json")
    data["decoder_layers"][0]["cross_span"] = 2
    with pytest.raises(ConfigError, match="cross_span 2 reaches past the 1 encoder layers"):
        parse(TranslationArch, data, "arch.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_heads": [3]}, "encoder_heads: 3 heads do not divide qkv_dim 8"),
        ({"cross_span": [3]}, "cross_span 3 exceeds the 2 encoder layers"),
        ({"norm": "none"}, "norm"),
    ],
)
def test_space_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(TranslationSpace, TINY.model_dump(mode="json") | change, "mosdeploy.toml")


# -- shortlists


def test_a_shortlist_that_is_off_leaves_fingerprints_alone() -> None:
    assert "shortlist" not in TranslationWorkload().model_dump(mode="json")
    assert TranslationWorkload(shortlist=5).model_dump(mode="json")["shortlist"] == 5


def test_a_shortlist_takes_logits_and_adds_ids() -> None:
    """3 source tokens with 5 of 10 ids of their own, and 20 for all: 35 of 1,000 tokens."""
    whole = ModelSpec(TINY, 1000, TranslationWorkload(source_len=3, decode_steps=2))
    short = whole.with_workload(shortlist=10)
    assert whole.num_macs(SMALL_ARCH) - short.num_macs(SMALL_ARCH) == (
        2 * SMALL_ARCH.decoder_embed_dim * (1000 - 35)
    )
    assert short.num_parameters(SMALL_ARCH) == whole.num_parameters(SMALL_ARCH)
    assert short.inventory(SMALL_ARCH).id_bytes == 1000 * 10 * 2
    assert not whole.inventory(SMALL_ARCH).id_bytes


def test_starters_are_transformers_as_papers_have_them() -> None:
    space = parse(
        TranslationSpace,
        {
            **TINY.model_dump(),
            "encoder_embed_dim": (8, 16),
            "decoder_embed_dim": (16, 24),
            "encoder_ffn_dim": (8, 32),
            "decoder_ffn_dim": (8, 32),
            "encoder_layers": (1, 2),
            "decoder_layers": (1,),
        },
        "a test",
    )
    starters = space.starters()
    assert len(set(starters)) == len(starters) == 2 * 2
    for arch in starters:
        space.check(arch)
        assert arch.encoder_embed_dim == arch.decoder_embed_dim == 16
        layers = (*arch.encoder_layers, *arch.decoder_layers)
        assert len({layer.ffn_dim for layer in layers}) == 1
        assert {layer.heads for layer in arch.encoder_layers} == {max(space.encoder_heads)}
        assert {layer.cross_span for layer in arch.decoder_layers} == {min(space.cross_span)}


def held(arch: TranslationArch, vocab_size: int = 10, **workload: int) -> int:
    sizes = {"source_len": 3, "decode_steps": 2, **workload}
    return ModelSpec(TINY, vocab_size, TranslationWorkload(**sizes)).inventory(arch).num_activations


def test_activations_of_the_last_step_by_hand() -> None:
    layers = tuple(
        DecoderLayerConfig(ffn_dim=5, self_heads=2, cross_heads=4, cross_span=span)
        for span in (1, 2)
    )
    encoder = SMALL_ARCH.encoder_layers * 2
    deep = SMALL_ARCH.model_copy(update={"encoder_layers": encoder, "decoder_layers": layers})
    # keys and values of 3 + 6 positions, and of two layers' 20 steps of 4 hypotheses, old and new
    kept = 2 * 8 * 9 + 2 * 2 * 2 * 8 * 4 * 20
    assert held(deep, 100, decode_steps=20, beam=4) == kept + 4 * (6 + 2 * 100)  # logits
    # scores of 2 heads over 20 steps, more than those of 4 heads over 6 positions
    attention = 2 * 4 * (6 + 2 * 8)
    assert held(deep, decode_steps=20, beam=4) == kept + attention + 4 * 2 * 20


def test_activations_of_a_long_source_are_those_of_the_encoder() -> None:
    assert held(SMALL_ARCH, source_len=50) == 2 * 50 * (4 + 2 * 8) + 50 * 2 * 50


def test_a_shortlist_scores_no_more_than_there_is_and_long_ids_take_four_bytes() -> None:
    assert TranslationWorkload(source_len=30, shortlist=10).num_scored(100) == 100
    for vocab_size, num_bytes in ((2**16, 2), (2**16 + 1, 4)):
        spec = ModelSpec(TINY, vocab_size, TranslationWorkload(shortlist=5))
        assert spec.inventory(SMALL_ARCH).id_bytes == vocab_size * 5 * num_bytes
