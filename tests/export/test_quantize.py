import numpy as np
import pytest
from networks import lively_subnet, open_model, open_subnet, run, small_space, until_end
from onnx import TensorProto, helper

from mosdeploy.export.onnx_graph import IR_VERSION, OPSET
from mosdeploy.export.quantize import LinearLayer, SharedTable, quantize_columns
from mosdeploy.export.scope import CONTRIB, Scope
from mosdeploy.export.weights import TrainedWeights
from mosdeploy.space import SearchSpace
from mosdeploy.supernet.subnet import Subnet
from mosdeploy.training.evaluate import translate


def compute(weights: dict[str, np.ndarray], emit, feed: np.ndarray) -> np.ndarray:
    """Run a graph of one emitted part."""
    scope = Scope(TrainedWeights(weights))
    result = emit(scope, "x")
    kind = helper.np_dtype_to_tensor_dtype(feed.dtype)
    inputs = [helper.make_tensor_value_info("x", kind, [None] * feed.ndim)]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
    graph = scope.graph("part", inputs, outputs, list(scope.initializers.values()))
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    return open_model(helper.make_model(graph, opset_imports=domains, ir_version=IR_VERSION)).run(None, {"x": feed})[0]


def test_quantize_columns_by_hand() -> None:
    codes, scales = quantize_columns(np.array([[127.0, 0.0, -1.0], [-63.6, 0.0, 2.54]], np.float32))
    assert scales.tolist() == pytest.approx([1.0, 1.0, 0.02])
    assert codes.tolist() == [[255, 128, 78], [64, 128, 255]]


def test_quantisation_error_is_half_a_scale() -> None:
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    codes, scales = quantize_columns(matrix)
    error = np.abs((codes.astype(np.float32) - 128) * scales - matrix)
    assert (error <= 0.5001 * scales).all() and codes.min() >= 1


def test_largest_products_do_not_saturate() -> None:
    """All weights and activations at full scale: an int8 kernel without VNNI would clip the pairwise sums."""
    signs = np.where(np.random.default_rng(0).random((16, 256)) < 0.5, -1.0, 1.0).astype(np.float32)
    layer = LinearLayer("owner", ("a",), 256, 16, "int8")
    weights = {"owner.a.weight": signs, "owner.a.bias": np.arange(16, dtype=np.float32)}
    x = np.ones((1, 256), np.float32)
    assert compute(weights, layer.product, x) == pytest.approx(x @ signs.T, abs=1e-2)
    assert compute(weights, layer.apply, x) == pytest.approx(x @ signs.T + np.arange(16), abs=1e-2)


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize(("encoder_dim", "decoder_dim"), [(8, 8), (12, 8), (8, 12)])
def test_one_table_serves_source_target_and_logits(encoder_dim: int, decoder_dim: int, number_format: str) -> None:
    rng = np.random.default_rng(0)
    embed = rng.normal(size=(20, max(encoder_dim, decoder_dim))).astype(np.float32)
    table = SharedTable(20, encoder_dim, decoder_dim, number_format)
    ids, weights, tolerance = np.array([[3, 0, 19]]), {"embed.weight": embed}, 1e-5 if number_format == "fp32" else 0.05
    source = compute(weights, table.embed_source, ids)
    assert source == pytest.approx(embed[ids][..., :encoder_dim] * encoder_dim**0.5, abs=tolerance)
    target = compute(weights, table.embed_target, ids)
    assert target == pytest.approx(embed[ids][..., :decoder_dim] * decoder_dim**0.5, abs=tolerance)
    x = rng.normal(size=(5, decoder_dim)).astype(np.float32)
    logits = compute(weights, lambda scope, x: table.logits(scope, x, table.prepare_logits(scope)), x)
    assert logits == pytest.approx(x @ embed[:, :decoder_dim].T, abs=2 * tolerance)


def test_int8_translates_nearly_as_torch(trained_subnet: Subnet) -> None:
    rng = np.random.default_rng(1)
    sources = [rng.integers(4, 12, length).tolist() for length in rng.integers(1, 6, 60)]
    expected = translate(trained_subnet, sources, 1, 12, 0.6)
    found = [until_end(row) for row in run(open_subnet(trained_subnet, small_space(), "int8"), sources, 12)]
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    assert same >= 0.9 * len(sources) and len({tuple(ids) for ids in expected}) > 20


@pytest.mark.parametrize("beam", [1, 3])
def test_int8_runs_every_kind_of_architecture(space: SearchSpace, beam: int) -> None:
    rng = np.random.default_rng(0)
    for seed in range(4):
        session = open_subnet(lively_subnet(space.sample(rng), space, seed), space, "int8", beam)
        assert run(session, [[4, 5, 6], [7]], 6, 6).shape == (2, 6)
