import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mosdeploy.errors import ArchError, ConfigError
from mosdeploy.record import parse
from mosdeploy.spaces import AnyArch, ModelSpec
from mosdeploy.spaces.encoder import EncoderSpace
from mosdeploy.spaces.encoder_choices import BertLayerConfig, EncoderArch
from mosdeploy.spaces.encoder_workload import EncoderWorkload

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


@given(st.integers(0, 2**32), st.booleans())
def test_encodings_and_rows_are_inverse(seed: int, uniform: bool) -> None:
    space = UNIFORM if uniform else SPACE
    rng = np.random.default_rng(seed)
    arch = space.mutate(space.sample(rng), 0.5, rng)
    other = space.crossover(arch, space.sample(rng), rng)
    for found in (arch, other):
        assert space.decode(space.encode(found)) == found
        assert space.from_genes(space.to_genes(found)) == found
        assert TypeAdapter(AnyArch).validate_json(found.model_dump_json()) == found


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


@pytest.mark.parametrize("head", ["pooled", "vector", "cls-vector"])
def test_features_add_up_to_the_macs_of_the_layers(head: str) -> None:
    outputs = {"head": head, "num_outputs": 3 if head == "pooled" else 0}
    space = SPACE.model_copy(update=outputs)
    spec = ModelSpec(space, 50, EncoderWorkload(input_len=7, batch=3))
    rng = np.random.default_rng(1)
    archs = [space.sample(rng) for _ in range(20)]
    features = spec.latency_features(spec.gene_rows(archs))
    columns = [spec.feature_names.index(x) for x in spec.feature_names if x.endswith("_macs")]
    after = 3 * (8 * 8 + 8 * 3) if head == "pooled" else 0
    expected = [(spec.num_macs(arch) - after) / 1e6 for arch in archs]
    assert np.allclose(features[:, columns].sum(1), expected)
    assert (features >= 0).all()


def test_the_stage_declares_what_the_graph_takes() -> None:
    (stage,) = SPACE.timing_stages(50, EncoderWorkload(input_len=7, batch=3))
    assert [x.name for x in stage.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert {x.shape for x in stage.inputs} == {(3, 7)}
    without = SPACE.model_copy(update={"num_types": 0})
    assert len(without.timing_stages(50, EncoderWorkload())[0].inputs) == 2


@pytest.mark.parametrize(("head", "num_outputs"), [("pooled", 0), ("vector", 2), ("tokens", 0)])
def test_a_head_without_its_outputs_is_refused(head: str, num_outputs: int) -> None:
    data = {**SPACE.model_dump(mode="json"), "head": head, "num_outputs": num_outputs}
    with pytest.raises(ConfigError, match=f"head '{head}'"):
        parse(EncoderSpace, data, "space")


def test_uniform_members_are_the_starters() -> None:
    starters = SPACE.starters()
    assert len(set(starters)) == len(starters) == 12
    for arch in starters:
        UNIFORM.check(arch)
