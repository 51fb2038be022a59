import numpy as np
import pytest
import torch
from encoders import (
    VOCAB_SIZE,
    answer_in_numpy,
    encoder_space,
    encoder_spec,
    padded,
    random_ids,
    random_weights,
    uneven_arch,
)
from onnx import TensorProto, checker
from onnx_parts import open_model

from mosdeploy.export.candidate import bundle_bytes
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.families.encoder.onnx_graph import build_graph
from mosdeploy.runtime.manifest import INDEPENDENT_ROWS
from mosdeploy.spaces.encoder import VECTOR_HEADS, EncoderArch, EncoderSpace

LENGTHS = (1, 2, 5, 9, 12)
SPACES = {
    "pooled": encoder_space(),
    "tokens": encoder_space(head="tokens", num_outputs=5),
    "vector": encoder_space(head="vector", num_outputs=0),
    "cls-vector": encoder_space(head="cls-vector", num_outputs=0),
    "masked-lm": encoder_space(head="masked-lm", num_outputs=0),
    "projected table": encoder_space(table_dim=16),
    "masked-lm, projected table": encoder_space(head="masked-lm", num_outputs=0, table_dim=16),
    "one type": encoder_space(num_types=1),
    "no types": encoder_space(num_types=0),
    "gelu by tanh": encoder_space(activation="gelu_tanh"),
    "relu": encoder_space(activation="relu", norm_epsilon=1e-5),
    "heads that share the width": encoder_space(head_dim=None),
    "bottlenecks": encoder_space(head_dim=None, layer_dim=(12, 24)),
    "bottlenecks, tokens": encoder_space(layer_dim=(12, 24), head="tokens", num_outputs=5),
}


def arch_of(space: EncoderSpace) -> EncoderArch:
    """Layers that differ, in all that the space lets them."""
    return uneven_arch(dims=(12, 24) if space.layer_dim else (None, None))


def run(
    space: EncoderSpace,
    arch: EncoderArch,
    seed: int,
    batch: dict,
    precision: str = "fp32",
    texts: int = 1,
    padding: str = "removed",
) -> np.ndarray:
    """Answer with the graph of a workload of so many texts."""
    weights = random_weights(space, arch, seed)
    model = build_graph(encoder_spec(space, precision, batch=texts, padding=padding), arch, weights)
    session = open_model(model)
    names = [value.name for value in session.get_inputs()]
    return session.run(None, {name: batch[name] for name in names})[0]


def batch_of(space: EncoderSpace, rows: list[list[int]]) -> dict[str, np.ndarray]:
    batch = padded(rows)
    if space.num_types == 1:
        batch["token_type_ids"][:] = 0
    return batch


# -- the law: the graph answers as the network does ------------------------------------------------


@pytest.mark.parametrize("padding", ["removed", "kept"])
@pytest.mark.parametrize("kind", SPACES)
def test_a_padded_batch_answers_as_each_text_alone(kind: str, padding: str) -> None:
    space = SPACES[kind]
    rows = random_ids(LENGTHS)
    for seed, arch in enumerate((arch_of(space), space.smallest, space.largest)):
        found = run(space, arch, seed, batch_of(space, rows), padding=padding)
        for i, ids in enumerate(rows):
            weights = random_weights(space, arch, seed)
            expected = answer_in_numpy(space, arch, weights, batch_of(space, [ids]))
            row = found[i, : len(ids)] if space.head in ("tokens", "masked-lm") else found[i]
            assert row == pytest.approx(expected, rel=1e-5, abs=5e-5)


@pytest.mark.parametrize("kind", SPACES)
def test_where_padding_is_kept_there_are_no_branches_and_loops(kind: str) -> None:
    space = SPACES[kind]
    weights = random_weights(space, arch_of(space))
    model = build_graph(encoder_spec(space, padding="kept"), arch_of(space), weights)
    found = {(node.domain, node.op_type) for node in model.graph.node}
    assert {op for domain, op in found if domain} <= {"Gelu", "FastGelu"}
    assert not {op for _, op in found if op in ("If", "Loop") or "Sequence" in op}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("kind", ["pooled", "tokens", "vector"])
def test_a_row_of_padding_alone_changes_no_other(kind: str, precision: str) -> None:
    space = SPACES[kind]
    batch = batch_of(space, random_ids((3, 9, 5)))
    expected = run(space, space.largest, 0, batch, precision)
    batch["attention_mask"][1] = 0
    found = run(space, space.largest, 0, batch, precision)
    assert np.isfinite(found).all()
    assert found[0, :3] == pytest.approx(expected[0, :3], abs=1e-5)
    assert found[2, :5] == pytest.approx(expected[2, :5], abs=1e-5)


@pytest.mark.parametrize("kind", ["tokens", "vector"])
def test_padding_may_stand_anywhere(kind: str) -> None:
    """As in torch, positions count from the first column, and a mask with holes hides those."""
    space = SPACES[kind]
    batch = batch_of(space, random_ids((9, 12, 9)))
    batch["attention_mask"][0, [0, 1, 4]] = 0
    weights = random_weights(space, space.largest)
    subnet = EncoderSubnet(space.largest, space, VOCAB_SIZE).eval()
    subnet.load_state_dict({name: torch.from_numpy(x) for name, x in weights.items()})
    with torch.no_grad():
        expected = subnet(**{name: torch.from_numpy(x) for name, x in batch.items()}).numpy()
    for precision, tolerance in (("fp32", 1e-5), ("int8", 0.2)):
        found = run(space, space.largest, 0, batch, precision)
        if kind == "tokens":
            real = batch["attention_mask"] == 1
            assert np.abs(found - expected)[real].max() < tolerance * np.abs(expected).max()
        else:
            assert found == pytest.approx(expected, abs=tolerance)


# -- precisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["int8", "int8-fp32-embedding"])
@pytest.mark.parametrize("kind", SPACES)
def test_int8_answers_nearly_the_same(kind: str, precision: str) -> None:
    space = SPACES[kind]
    for ids in random_ids(LENGTHS):
        batch = batch_of(space, [ids])
        exact = run(space, arch_of(space), 0, batch)
        found = run(space, arch_of(space), 0, batch, precision)
        assert found.shape == exact.shape
        error = np.abs(found - exact).max() / np.abs(exact).max()
        assert 0 < error < 0.2


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("kind", SPACES)
def test_in_int8_a_text_answers_in_a_batch_as_alone(kind: str, batch: int) -> None:
    """Whether the graph is that of single texts or of many, and whatever stands beside a text."""
    space = SPACES[kind]
    rows = random_ids(LENGTHS)
    together = run(space, arch_of(space), 0, batch_of(space, rows), "int8", batch)
    for i, ids in enumerate(rows):
        (alone,) = run(space, arch_of(space), 0, batch_of(space, [ids]), "int8")
        row = together[i, : len(ids)] if alone.ndim == 2 else together[i]
        assert row == pytest.approx(alone, abs=1e-5)


def test_many_texts_go_through_a_sublayer_before_the_next() -> None:
    loops = {1: 1, 2: 4}  # the architecture has two layers of two
    for batch, expected in loops.items():
        spec = encoder_spec(SPACES["pooled"], "int8", batch=batch)
        model = build_graph(spec, uneven_arch(), random_weights(spec.space, uneven_arch()))
        assert [node.op_type for node in model.graph.node].count("Loop") == expected


@pytest.mark.parametrize(
    ("precision", "batch", "is_marked"),
    [("int8", 5, True), ("int8-fp32-embedding", 5, True), ("int8", 1, False), ("fp32", 5, False)],
)
def test_a_model_for_batches_tells_that_rows_are_independent(
    precision: str, batch: int, is_marked: bool
) -> None:
    spec = encoder_spec(SPACES["pooled"], precision, batch=batch)
    model = build_graph(spec, uneven_arch(), random_weights(spec.space, uneven_arch()))
    keys = [entry.key for entry in model.metadata_props]
    assert keys == ([INDEPENDENT_ROWS] if is_marked else [])


def test_no_node_is_fused_into_the_slow_norm() -> None:
    """ONNX Runtime fuses an Add with the norm behind it, which takes longer on a CPU."""
    spec = encoder_spec(SPACES["pooled"], "int8")
    model = build_graph(spec, uneven_arch(), random_weights(spec.space, uneven_arch()))
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    kinds = [node.op_type for node in loop.attribute[0].g.node]
    assert kinds.count("LayerNormalization") == 5 and kinds.count("QAttention") == 1
    assert "Add" not in kinds and "SkipLayerNormalization" not in kinds


# -- form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SPACES)
def test_the_model_is_well_formed(kind: str) -> None:
    space = SPACES[kind]
    model = build_graph(encoder_spec(space), arch_of(space), random_weights(space, arch_of(space)))
    checker.check_model(model)
    stage = space.timing_stages(VOCAB_SIZE, encoder_spec(space).workload)[0]
    assert [x.name for x in model.graph.input] == [x.name for x in stage.inputs]
    assert [x.name for x in model.graph.output] == ["vector" if kind in VECTOR_HEADS else "logits"]
    axes = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch_size", "sequence_length"]


@pytest.mark.parametrize("kind", SPACES)
def test_every_weight_is_stored_once(kind: str) -> None:
    space = SPACES[kind]
    model = build_graph(encoder_spec(space), arch_of(space), random_weights(space, arch_of(space)))
    stored = sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and not tensor.name.startswith("float32[")
    )
    assert stored == encoder_spec(space).num_parameters(arch_of(space))


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-fp32-embedding"])
@pytest.mark.parametrize("kind", SPACES)
def test_its_size_is_known_before_it_is_built(kind: str, precision: str) -> None:
    space = SPACES[kind]
    spec = encoder_spec(space, precision)
    for arch in (arch_of(space), space.smallest):
        size = len(build_graph(spec, arch, random_weights(space, arch)).SerializeToString())
        assert bundle_bytes(spec, arch, build_graph) == pytest.approx(size, rel=0.01)
