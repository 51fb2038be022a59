import shutil
import subprocess
import sys

import numpy as np
import pytest
from networks import PRECISIONS, lively_subnet, open_model, open_subnet, run, small_space, until_end
from onnx import helper

from mosdeploy.export.onnx.builder import CONTRIB, GraphBuilder
from mosdeploy.export.onnx.embedding import TiedEmbedding
from mosdeploy.export.onnx.initializers import InlineInitializers
from mosdeploy.export.onnx.linear import LinearLayer
from mosdeploy.export.quantize import (
    block_size,
    matrix_bytes,
    quantize_blocks,
    quantize_columns,
    quantize_table,
    table_bytes,
)
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import IR_VERSION, OPSET
from mosdeploy.spaces.translation import TranslationSpace

QUANTISED = [precision for precision in PRECISIONS if precision.startswith("int")]


def compute(
    weights: dict[str, np.ndarray], emit, feed: np.ndarray
) -> np.ndarray | list[np.ndarray]:
    """Run a graph of one emitted part, which gives one tensor or several."""
    scope = GraphBuilder(InlineInitializers(weights))
    result = emit(scope, "x")
    names = [result] if isinstance(result, str) else list(result)
    inputs = [
        helper.make_tensor_value_info(
            "x", helper.np_dtype_to_tensor_dtype(feed.dtype), [None] * feed.ndim
        )
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    graph = scope.graph("part", inputs, outputs, list(scope.initializers.values()))
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    session = open_model(helper.make_model(graph, opset_imports=domains, ir_version=IR_VERSION))
    found = session.run(None, {"x": feed})
    return found[0] if isinstance(result, str) else found


# -- codes and scales
# --------------------------------------------------------------------------------------------------


def test_quantize_columns_by_hand() -> None:
    codes, scales = quantize_columns(
        np.array([[127.0, 0.0, -1.0], [-63.6, 0.0, 2.54]], np.float32), 127
    )
    assert scales.tolist() == pytest.approx([1.0, 1.0, 0.02])
    assert codes.tolist() == [[127, 0, -50], [-64, 0, 127]]


def test_quantize_blocks_by_hand() -> None:
    column = np.zeros((32, 1), np.float32)
    column[:2, 0], column[17, 0] = (7.0, -6.6), 3.5
    assert block_size(32) == 32 and block_size(20) == 16
    codes, scales = quantize_blocks(column)
    assert codes.shape == (1, 1, 16) and scales.tolist() == [[1.0]]
    assert codes[0, 0, 0] == (8 + 7) + 16 * (8 - 7), "even inputs in the lower half"
    assert codes[0, 0, 8] == 8 + 16 * (8 + 4) and set(codes[0, 0].tolist()) == {31, 200, 136}


def test_the_last_block_is_filled_up() -> None:
    codes, scales = quantize_blocks(np.ones((20, 3), np.float32))
    assert codes.shape == (3, 2, 8) and scales.shape == (3, 2)
    assert (codes[:, 1, 2:] == 8 + 16 * 8).all() and (codes[:, 1, :2] == 15 + 16 * 15).all()


@pytest.mark.parametrize("largest_code", [64, 127])
def test_quantisation_error_is_half_a_scale(largest_code: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    codes, scales = quantize_columns(matrix, largest_code)
    assert (np.abs(codes * scales - matrix) <= 0.5001 * scales).all() and np.abs(
        codes
    ).max() == largest_code


def test_the_upper_half_of_a_table_code_is_the_value_in_four_bits() -> None:
    table = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    codes, scales = quantize_table(table)
    assert (np.abs((codes - 136.0) * scales[:, None] - table) <= 0.5001 * scales[:, None]).all()
    assert (
        np.abs(((codes >> 4) - 8.0) * 16 * scales[:, None] - table) <= 8.5001 * scales[:, None]
    ).all()


def test_sums_of_two_products_fit_into_16_bits() -> None:
    """The instruction of processors without VNNI: unsigned activations, signed weights, neighbours
    added.
    """
    codes, _ = quantize_columns(
        np.random.default_rng(0).normal(size=(64, 50)).astype(np.float32), 64
    )
    assert 255 * np.abs(codes.astype(int)).max() * 2 < 2**15


# -- the operators ---------------------------------------------------------------------------------
# --------------------


@pytest.mark.parametrize(
    ("number_format", "tolerance"),
    [("fp32", 1e-5), ("int8", 0.06), ("matmulnbits8", 0.04), ("matmulnbits4", 0.5)],
)
@pytest.mark.parametrize("num_inputs", [20, 64, 256])
@pytest.mark.parametrize("num_rows", [1, 5])
def test_linear_layers(
    number_format: str, tolerance: float, num_inputs: int, num_rows: int
) -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"owner.{name}.weight": rng.normal(size=(12, num_inputs)).astype(np.float32)
        for name in "ab"
    }
    weights |= {f"owner.{name}.bias": rng.normal(size=12).astype(np.float32) for name in "ab"}
    layer = LinearLayer("owner", ("a", "b"), num_inputs, 12, number_format)
    x = rng.normal(size=(1, num_rows, num_inputs)).astype(np.float32) / num_inputs**0.5
    expected = x @ np.concatenate([weights["owner.a.weight"], weights["owner.b.weight"]]).T
    product, full = compute(weights, layer.product, x), compute(weights, layer.apply, x)
    assert np.abs(product - expected).max() < tolerance
    assert full - product == pytest.approx(
        np.broadcast_to(
            np.concatenate([weights["owner.a.bias"], weights["owner.b.bias"]]), full.shape
        ),
        abs=1e-5,
    )


@pytest.mark.parametrize("number_format", ["int8", "matmulnbits8"])
def test_largest_products_do_not_saturate(number_format: str) -> None:
    """All weights and activations at full scale."""
    signs = np.where(np.random.default_rng(0).random((16, 256)) < 0.5, -1.0, 1.0).astype(np.float32)
    layer = LinearLayer("owner", ("a",), 256, 16, number_format)
    weights = {"owner.a.weight": signs, "owner.a.bias": np.arange(16, dtype=np.float32)}
    x = np.ones((1, 256), np.float32)
    assert compute(weights, layer.product, x) == pytest.approx(x @ signs.T, abs=1e-2)
    assert compute(weights, layer.apply, x) == pytest.approx(x @ signs.T + np.arange(16), abs=1e-2)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64 (Debian: qemu-user)")
def test_nor_do_they_on_a_processor_without_vnni() -> None:
    """The test above, on an emulated processor whose byte kernels add two products in 16 bits."""
    command = [
        "qemu-x86_64",
        "-cpu",
        "Haswell",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, __file__, "-k", "saturate"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize(("encoder_dim", "decoder_dim"), [(8, 8), (12, 8), (8, 12)])
def test_one_table_serves_source_and_target(
    encoder_dim: int, decoder_dim: int, number_format: str
) -> None:
    embed = (
        np.random.default_rng(0).normal(size=(20, max(encoder_dim, decoder_dim))).astype(np.float32)
    )
    table = TiedEmbedding(20, encoder_dim, decoder_dim, number_format)
    ids, weights, tolerance = (
        np.array([[3, 0, 19]]),
        {"embed.weight": embed},
        1e-5 if number_format == "fp32" else 0.05,
    )
    source = compute(weights, table.embed_source, ids)
    assert source == pytest.approx(embed[ids][..., :encoder_dim] * encoder_dim**0.5, abs=tolerance)
    target = compute(weights, table.embed_target, ids)
    assert target == pytest.approx(embed[ids][..., :decoder_dim] * decoder_dim**0.5, abs=tolerance)


def stored(embed: np.ndarray, number_format: str) -> np.ndarray:
    """The table as a bundle holds it."""
    if number_format == "fp32":
        return embed
    codes, scales = quantize_table(embed)
    return (codes - np.float32(136)) * scales[:, None]


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize("int4_logits", [False, True])
@pytest.mark.parametrize(("encoder_dim", "decoder_dim"), [(12, 64), (40, 20), (160, 160)])
def test_the_best_token(
    number_format: str, int4_logits: bool, encoder_dim: int, decoder_dim: int
) -> None:
    rng = np.random.default_rng(1)
    embed = rng.normal(size=(300, max(encoder_dim, decoder_dim))).astype(np.float32)
    table = TiedEmbedding(300, encoder_dim, decoder_dim, number_format, int4_logits)
    x = rng.normal(size=(50, decoder_dim)).astype(np.float32)
    logits = x @ stored(embed[:, :decoder_dim], number_format).T
    best = compute({"embed.weight": embed}, table.best, x)
    wrong = best[:, 0] != logits.argmax(-1)
    if int4_logits or number_format == "fp32":
        assert not wrong.any()
    else:  # vectors are quantised too
        assert wrong.mean() < 0.1


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize("vocab_size", [12, 300])
def test_log_p_of_the_likeliest_tokens(number_format: str, vocab_size: int) -> None:
    """Exact where all tokens are scored from the table; else as good as the four bits of the
    unlikely ones.
    """
    rng = np.random.default_rng(2)
    embed, x = (rng.normal(size=(rows, 64)).astype(np.float32) for rows in (vocab_size, 5))
    table = TiedEmbedding(vocab_size, 64, 64, number_format, int4_logits=True)
    log_p, tokens = compute(
        {"embed.weight": embed}, lambda scope, x: table.likeliest(scope, x, 10), x / 2
    )
    logits = x / 2 @ stored(embed, number_format).T
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert log_p.shape == tokens.shape == (5, min(64, vocab_size))
    tolerance = 1e-4 if vocab_size == 12 else 0.05
    assert log_p == pytest.approx(np.take_along_axis(expected, tokens, axis=1), abs=tolerance)
    assert {row.argmax() for row in expected} <= {
        row[0] for row in tokens[np.arange(5)[:, None], log_p.argsort()[:, ::-1]]
    }


def test_a_table_with_a_row_of_zeros() -> None:
    embed = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    embed[0] = 0.0
    for number_format in ("fp32", "int8"):
        table = TiedEmbedding(20, 16, 16, number_format, int4_logits=True)
        assert compute({"embed.weight": embed}, table.best, -embed[5:6]).tolist() != [[5]]
        assert compute({"embed.weight": embed}, table.best, embed[5:6]).tolist() == [[5]]


# -- whole graphs ----------------------------------------------------------------------------------
# --------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("beam", [1, 3])
def test_every_precision_translates_as_torch_or_nearly(
    trained_subnet: Subnet, precision: str, beam: int
) -> None:
    rng = np.random.default_rng(1)
    sources = [rng.integers(4, 12, length).tolist() for length in rng.integers(1, 6, 60)]
    expected = translate(trained_subnet, sources, beam, 12, 0.6)
    found = [
        until_end(row)
        for row in run(open_subnet(trained_subnet, small_space(), precision, beam), sources, 12)
    ]
    same = sum(a == b for a, b in zip(found, expected, strict=True)) / len(sources)
    assert same >= {"fp32": 1.0, "fp32-int4-logits": 1.0, "int4": 0.7}.get(precision, 0.9)
    assert len({tuple(ids) for ids in expected}) > 15


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("precision", QUANTISED)
def test_every_kind_of_architecture_runs(
    space: TranslationSpace, beam: int, precision: str
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        session = open_subnet(lively_subnet(space.sample(rng), space, seed), space, precision, beam)
        assert run(session, [[4, 5, 6], [7]], 6, 6).shape == (2, 6)


def test_a_quantised_file_holds_a_byte_a_weight_and_a_scale_a_row() -> None:
    """What CTranslate2 stores in int8, and less in int4."""
    assert (
        matrix_bytes(512, 2048, "int8")
        == matrix_bytes(512, 2048, "matmulnbits8")
        == 2048 * (512 + 4)
    )
    assert matrix_bytes(512, 2048, "matmulnbits4") == 2048 * (256 + 4 * 4)
    assert table_bytes(32_000, 512, "int8") == 32_000 * (512 + 4)
