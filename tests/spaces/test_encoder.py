import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mosdeploy.config import load_recipe
from mosdeploy.errors import ArchError, ConfigError
from mosdeploy.record import parse
from mosdeploy.spaces import AnyArch, ModelSpec
from mosdeploy.spaces.encoder import BertLayerConfig, EncoderArch, EncoderSpace, EncoderWorkload

SPACE = EncoderSpace(
    embed_dim=(8,),
    layers=(1, 2, 3),
    ffn_dim=(4, 16),
    heads=(1, 2),
    head_dim=4,
    max_positions=10,
    num_outputs=3,
)
UNIFORM = SPACE.model_copy(update={"uniform": True})
# FFN widths that follow the hidden width, heads that share it
RATIO = EncoderSpace(
    embed_dim=(12, 24, 36),
    layers=(1, 2),
    ffn_ratio=(0.5, 1.25, 2),
    heads=(1, 3),
    max_positions=10,
    num_outputs=3,
)
# layers of widths of their own
BOTTLENECKS = SPACE.model_copy(update={"heads": (2,), "head_dim": None, "layer_dim": (2, 4, 8)})
KINDS = {
    "free": SPACE,
    "uniform": UNIFORM,
    "ratio": RATIO,
    "uniform ratio": RATIO.model_copy(update={"uniform": True}),
    "bottlenecks": BOTTLENECKS,
}


@given(st.integers(0, 2**32), st.sampled_from(sorted(KINDS)))
def test_encodings_and_rows_are_inverse(seed: int, kind: str) -> None:
    space = KINDS[kind]
    rng = np.random.default_rng(seed)
    arch = space.mutate(space.sample(rng), 0.5, rng)
    other = space.crossover(arch, space.sample(rng), rng)
    for found in (arch, other):
        assert space.decode(space.encode(found)) == found
        assert space.from_genes(space.to_genes(found)) == found
        assert TypeAdapter(AnyArch).validate_json(found.model_dump_json()) == found


def test_the_papers_spaces_hold_what_it_says() -> None:
    """Counted, and every member built: 550 of (b), 840 of (c).

    (b): (768 - 120) / 12 + 1 = 55 hidden widths, 2 numbers of heads, 5 ratios, one depth. Every
    width is a multiple of 12, so that 6 and 12 heads divide all of them, and 2.5 and 3.5 times a
    width is whole: no combination falls away. (c): (768 - 120) / 24 + 1 = 28 widths, 3 depths.
    """
    for name, depths, count in (
        ("bert-base.widths", [12], 55 * 2 * 5),
        ("bert-base.widths-depths", [6, 9, 12], 28 * 2 * 5 * 3),
    ):
        space = load_recipe(name).space
        assert isinstance(space, EncoderSpace)
        assert space.num_architectures == count == {1: 550, 3: 840}[len(depths)]
        members = set(space.starters())
        assert len(members) == count
        assert sorted({len(arch.layers) for arch in members}) == depths
        for arch in members:
            (layer,) = set(arch.layers)
            assert layer.ffn_dim / arch.embed_dim in (2, 2.5, 3, 3.5, 4)
            assert arch.embed_dim % layer.heads == 0
            assert space.attention_dim(arch.embed_dim, layer.heads) == arch.embed_dim


def test_the_papers_space_of_bottlenecks_has_a_width_a_layer() -> None:
    space = load_recipe("bert-base.bottlenecks").space
    assert space.num_architectures == 7**12
    assert isinstance(space.largest, EncoderArch)
    assert {layer.dim for layer in space.largest.layers} == {768}


def test_a_ratio_is_one_gene_at_every_width() -> None:
    assert RATIO.ffn_dim == (18, 45, 72)  # beside the hidden width of 36
    narrow = EncoderArch(embed_dim=12, layers=(BertLayerConfig(ffn_dim=15, heads=3),))
    row = RATIO.to_genes(narrow)
    assert row[RATIO.gene_slices["ffn_dim"]].tolist() == [45, 0]
    assert RATIO.aggregate_genes(row[None]).tolist() == [[12, 1, 15, 3]]
    wide = row.copy()
    wide[0] = 24
    assert RATIO.from_genes(wide).layers[0].ffn_dim == 30  # type: ignore[attr-defined]
    # 3 widths, 6 layers, 6 * 6 pairs of layers
    assert RATIO.num_architectures == 3 * (6 + 36)
    row[RATIO.gene_slices["ffn_dim"].start] = 46
    with pytest.raises(ArchError, match="FFN widths beside 36"):
        RATIO.from_genes(row)
    other = BertLayerConfig(ffn_dim=18, heads=3)
    with pytest.raises(ArchError, match=r"layers\.0\.ffn_dim is 18, allowed: \[6, 15, 24\]"):
        RATIO.check(EncoderArch(embed_dim=12, layers=(other,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ffn_ratio": [2], "ffn_dim": [4, 8]}, "either the FFN widths or ffn_ratio"),
        ({"ffn_ratio": [1.1], "ffn_dim": []}, "1.1 times embed_dim 8 is no whole number"),
        ({"ffn_dim": []}, "give the FFN widths, or ffn_ratio"),
        ({"head_dim": None, "heads": [3]}, "3 heads do not divide the width 8"),
        ({"layer_dim": [6], "head_dim": None, "heads": [4]}, "4 heads do not divide the width 6"),
        ({"layer_dim": [4], "embed_dim": [4, 8]}, "embed_dim is one width"),
    ],
)
def test_widths_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    data = {**SPACE.model_dump(mode="json"), **changes}
    with pytest.raises(ConfigError, match=message):
        parse(EncoderSpace, data, "space")


def test_bottlenecks_belong_to_their_spaces_alone() -> None:
    arch = BOTTLENECKS.smallest
    assert str(arch) == "8 [2:4/2h]"
    with pytest.raises(ArchError, match="has bottlenecks"):
        SPACE.check(arch)
    with pytest.raises(ArchError, match=r"layers\.0\.dim is None, allowed: \[2, 4, 8\]"):
        BOTTLENECKS.check(EncoderArch(embed_dim=8, layers=(BertLayerConfig(ffn_dim=4, heads=2),)))


def test_all_layers_of_a_uniform_space_are_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = {UNIFORM.sample(rng) for _ in range(200)}
    assert all(arch.is_uniform for arch in drawn)
    # 3 depths, 2 widths, 2 numbers of heads
    assert len(drawn) == UNIFORM.num_architectures == 12
    assert SPACE.num_architectures == 4 + 4**2 + 4**3
    layers = (BertLayerConfig(ffn_dim=4, heads=1), BertLayerConfig(ffn_dim=16, heads=1))
    with pytest.raises(ArchError, match="is not uniform"):
        UNIFORM.check(EncoderArch(embed_dim=8, layers=layers))


def test_parameters_and_macs_by_hand() -> None:
    spec = ModelSpec(SPACE, 50, EncoderWorkload(input_len=5, batch=2))
    arch = SPACE.smallest  # one layer, FFN 4, one head of 4
    attention = 3 * (8 * 4 + 4) + (4 * 8 + 8)
    ffn = (8 * 4 + 4) + (4 * 8 + 8)
    norms = 2 * (8 + 8 + 8)
    head = (8 * 8 + 8) + (8 * 3 + 3)
    tables = 10 * 8 + 2 * 8
    inventory = spec.inventory(arch)
    assert inventory.num_body_parameters == attention + ffn + norms + head + tables
    assert spec.num_parameters(arch) == inventory.num_body_parameters + 50 * 8
    layer = 10 * (8 * 12 + 4 * 8 + 2 * 8 * 4) + 2 * 10 * 4 * 5
    # of the last layer, the head reads the first position of each text; all others need keys and
    # values alone
    spared = 8 * (8 * 4 + 4 * 8 + 2 * 8 * 4) + 2 * 8 * 4 * 5
    assert spec.num_macs(arch) == layer - spared + 2 * (8 * 8 + 8 * 3)
    vectors = ModelSpec(
        SPACE.model_copy(update={"head": "vector", "num_outputs": 0}), 50, spec.workload
    )
    assert vectors.num_macs(arch) == layer
    first = ModelSpec(vectors.space.model_copy(update={"head": "cls-vector"}), 50, spec.workload)
    assert first.num_macs(arch) == layer - spared


def test_a_table_of_its_own_width_is_projected() -> None:
    space = SPACE.model_copy(update={"table_dim": 6})
    plain, projected = (
        ModelSpec(each, 50, EncoderWorkload()).num_parameters(each.smallest)
        for each in (SPACE, space)
    )
    # tables of 62 rows are 2 narrower, and so is their norm; the projection comes on top
    assert projected - plain == -2 * (50 + 10 + 2) - 2 * 2 + (6 * 8 + 8)


def test_activations_by_hand() -> None:
    """Two texts of 5 tokens; a layer of one head of 4, FFN 4, and one of two heads, FFN 16."""
    layers = (BertLayerConfig(ffn_dim=4, heads=1), BertLayerConfig(ffn_dim=16, heads=2))
    arch = EncoderArch(embed_dim=8, layers=layers)
    vector = SPACE.model_copy(update={"head": "vector", "num_outputs": 0})
    logits = SPACE.model_copy(update={"head": "masked-lm", "num_outputs": 0})

    def held(space: EncoderSpace, **workload: object) -> int:
        spec = ModelSpec(space, 50, EncoderWorkload(input_len=5, **workload))
        return spec.inventory(arch).num_activations

    # the first layer's states and projections of one head, and the scores of one text
    assert held(SPACE, batch=2) == 10 * (2 * 8 + 4 * 4) + 5 * 1 * 5
    # the last layer computes all positions here: its FFN holds 2 * 10 * (8 + 16)
    last = 10 * (2 * 8 + 4 * 8) + 5 * 2 * 5
    assert held(vector, batch=2) == last > 2 * 10 * (8 + 16)
    # one text goes through it alone, beside the states of both, old and new
    assert held(vector, batch=2, precision="int8") == 5 * 48 + 5 * 2 * 5 + 2 * 10 * 8
    assert held(vector, precision="int8") == held(vector) == 5 * 48 + 5 * 2 * 5
    assert held(logits, batch=2) == 10 * (8 + 2 * 50)
    # with padding the scores of both, three times
    kept = 10 * (2 * 8 + 4 * 8) + 3 * 2 * 5 * 2 * 5
    assert held(vector, batch=2, padding="kept") == kept


@pytest.mark.parametrize("kind", ["free", "ratio", "bottlenecks"])
@pytest.mark.parametrize("head", ["pooled", "vector", "cls-vector"])
def test_features_add_up_to_the_macs_of_the_layers(head: str, kind: str) -> None:
    outputs = {"head": head, "num_outputs": 3 if head == "pooled" else 0}
    space = KINDS[kind].model_copy(update=outputs)
    spec = ModelSpec(space, 50, EncoderWorkload(input_len=7, batch=3))
    rng = np.random.default_rng(1)
    archs = [space.sample(rng) for _ in range(20)]
    features = spec.latency_features(spec.gene_rows(archs))
    columns = [
        spec.space.feature_names.index(x) for x in spec.space.feature_names if x.endswith("_macs")
    ]

    def after(d: int) -> int:
        return 3 * (d * d + d * 3) if head == "pooled" else 0

    expected = [(spec.num_macs(arch) - after(arch.embed_dim)) / 1e6 for arch in archs]
    assert np.allclose(features[:, columns].sum(1), expected)
    # of layers that are alike, all of whose positions count, their means tell the same
    if head == "vector":
        alike = spec.gene_rows(space.starters())
        means = spec.latency_features_of_means(space.aggregate_genes(alike))
        assert np.allclose(means, spec.latency_features(alike))
    assert (features >= 0).all()


@pytest.mark.parametrize(("head", "num_outputs"), [("pooled", 0), ("vector", 2), ("tokens", 0)])
def test_a_head_without_its_outputs_is_refused(head: str, num_outputs: int) -> None:
    data = {**SPACE.model_dump(mode="json"), "head": head, "num_outputs": num_outputs}
    with pytest.raises(ConfigError, match=f"head '{head}'"):
        parse(EncoderSpace, data, "space")


def test_activations_of_bottlenecks_and_wide_ffns_by_hand() -> None:
    """One text of 5 tokens; two heads share a width of 4."""

    def held(ffn_dim: int) -> int:
        space = BOTTLENECKS.model_copy(
            update={"head_dim": None, "ffn_dim": (ffn_dim,), "head": "vector", "num_outputs": 0}
        )
        layers = (BertLayerConfig(ffn_dim=ffn_dim, heads=2, dim=4),)
        spec = ModelSpec(space, 50, EncoderWorkload(input_len=5))
        return spec.inventory(EncoderArch(embed_dim=8, layers=layers)).num_activations

    assert held(4) == 10 * (4 + 2 * 4) + 5 * 2 * 5
    assert held(100) == 2 * 5 * (4 + 100)


@pytest.mark.parametrize(
    ("head", "after"),
    [
        # two texts of 5 tokens; 50 words, a table of width 6
        pytest.param("tokens", 10 * 8 * 3, id="tokens"),
        pytest.param("masked-lm", 10 * (8 * 6 + 6 * 50), id="masked-lm"),
    ],
)
def test_macs_before_and_behind_the_layers_by_hand(head: str, after: int) -> None:
    outputs = {"head": head, "num_outputs": 3 if head == "tokens" else 0, "table_dim": 6}
    spec = ModelSpec(SPACE.model_copy(update=outputs), 50, EncoderWorkload(input_len=5, batch=2))
    layer = 10 * (8 * 12 + 4 * 8 + 2 * 8 * 4) + 2 * 10 * 4 * 5
    assert spec.num_macs(spec.space.smallest) == 10 * 6 * 8 + layer + after
