import numpy as np
import pytest
from onnx_parts import run_part

from mosdeploy.export.onnx.embedding import TiedEmbedding
from mosdeploy.export.quantize import quantize_table


def stored(embed: np.ndarray, number_format: str) -> np.ndarray:
    """The table as a bundle holds it."""
    if number_format == "fp32":
        return embed
    codes, scales = quantize_table(embed)
    return (codes - np.float32(136)) * scales[:, None]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_embed_by_hand() -> None:
    embed = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], np.float32)
    table = TiedEmbedding(2, 4, 2, "fp32")
    ids = np.array([[1]])
    (wide,) = run_part({"embed.weight": embed}, lambda b, x: table.embed(b, x, 4), ids)
    (narrow,) = run_part({"embed.weight": embed}, lambda b, x: table.embed(b, x, 1), ids)
    assert wide.tolist() == [[[10.0, 12.0, 14.0, 16.0]]], "times the root of 4"
    assert narrow.tolist() == [[[5.0]]]
    table = TiedEmbedding(2, 4, 4, "fp32", scaled=False)
    (plain,) = run_part({"embed.weight": embed}, lambda b, x: table.embed(b, x, 4), ids)
    assert plain.tolist() == [[[5.0, 6.0, 7.0, 8.0]]]


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize("width", [8, 12, 5])
@pytest.mark.parametrize("logits_dim", [8, 12])
def test_one_table_serves_every_width(width: int, logits_dim: int, number_format: str) -> None:
    embed = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    table = TiedEmbedding(20, 12, logits_dim, number_format)
    ids = np.array([[3, 0, 19]])
    (found,) = run_part({"embed.weight": embed}, lambda b, x: table.embed(b, x, width), ids)
    expected = embed[ids][..., :width] * width**0.5
    assert found == pytest.approx(expected, abs=1e-5 if number_format == "fp32" else 0.05)


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize("int4_logits", [False, True])
@pytest.mark.parametrize(("num_columns", "logits_dim"), [(64, 64), (40, 20), (160, 160)])
def test_the_best_token(
    number_format: str, int4_logits: bool, num_columns: int, logits_dim: int
) -> None:
    rng = np.random.default_rng(1)
    embed = rng.normal(size=(300, num_columns)).astype(np.float32)
    table = TiedEmbedding(300, num_columns, logits_dim, number_format, int4_logits)
    x = rng.normal(size=(50, logits_dim)).astype(np.float32)
    logits = x @ stored(embed[:, :logits_dim], number_format).T
    (best,) = run_part({"embed.weight": embed}, table.best, x)
    wrong = best[:, 0] != logits.argmax(-1)
    if int4_logits or number_format == "fp32":
        assert not wrong.any()
    else:  # vectors are quantised too
        assert wrong.mean() < 0.1


def test_log_p_by_hand() -> None:
    """Logits 0, 0 and log 2: probabilities of a quarter, a quarter and a half."""
    embed = np.array([[0.0], [0.0], [np.log(2.0)]], np.float32)
    table = TiedEmbedding(3, 1, 1, "fp32")
    x = np.ones((1, 1), np.float32)
    log_p, tokens = run_part({"embed.weight": embed}, lambda b, x: table.likeliest(b, x, 2), x)
    assert np.exp(log_p) == pytest.approx(np.array([[0.5, 0.25]]), abs=1e-6)
    assert tokens.tolist() == [[2, 0]]


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
@pytest.mark.parametrize("vocab_size", [12, 300])
def test_log_p_from_four_bits(number_format: str, vocab_size: int) -> None:
    """Exact where all tokens are scored from the table; else as good as the four bits of the
    unlikely ones.
    """
    rng = np.random.default_rng(2)
    embed, x = (rng.normal(size=(rows, 64)).astype(np.float32) for rows in (vocab_size, 5))
    table = TiedEmbedding(vocab_size, 64, 64, number_format, int4_logits=True)
    log_p, tokens = run_part({"embed.weight": embed}, lambda b, x: table.likeliest(b, x, 10), x / 2)
    expected = log_softmax(x / 2 @ stored(embed, number_format).T)
    assert log_p.shape == tokens.shape == (5, min(64, vocab_size))
    tolerance = 1e-4 if vocab_size == 12 else 0.05
    assert log_p == pytest.approx(np.take_along_axis(expected, tokens, axis=1), abs=tolerance)
    found = {row[0] for row in tokens[np.arange(5)[:, None], log_p.argsort()[:, ::-1]]}
    assert {row.argmax() for row in expected} <= found


@pytest.mark.parametrize("number_format", ["fp32", "int8"])
def test_a_table_with_a_row_of_zeros(number_format: str) -> None:
    embed = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    embed[0] = 0.0
    table = TiedEmbedding(20, 16, 16, number_format, int4_logits=True)
    weights = {"embed.weight": embed}
    assert run_part(weights, table.best, embed[5:6])[0].tolist() == [[5]]
    assert run_part(weights, table.best, -embed[5:6])[0].tolist() != [[5]]
