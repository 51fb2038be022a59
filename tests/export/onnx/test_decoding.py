"""The loops on a toy decoder, whose log p depend on the sum of all tokens so far."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_parts import open_model

from mosdeploy.export.onnx.builder import GraphBuilder, InlineInitializers, make_model
from mosdeploy.export.onnx.decoding import (
    Decoder,
    SpecialTokens,
    beam_search,
    greedy_search,
    step_limits,
)
from mosdeploy.export.onnx.embedding import TiedEmbedding

PAD, BOS, EOS = range(3)
VOCAB_SIZE = 5


def decode(
    log_p: np.ndarray,
    offsets: Sequence[int],
    max_steps: int,
    min_steps: int = 0,
    beam: int = 1,
    length_penalty: float = 0.0,
) -> np.ndarray:
    """Decode examples in one batch; the next token of an example has `log_p[i]`, where i is its
    offset plus the sum of its tokens.
    """
    num_rows = len(log_p)
    builder = GraphBuilder(InlineInitializers({"embed.weight": np.eye(VOCAB_SIZE)}), "toy")

    def step(body: GraphBuilder, tokens: str, position: str, past_kv: Sequence[str]):
        cell = body.constant([-1, 1, 1, 1])
        token = body.op("Reshape", body.op("Cast", tokens, to=TensorProto.FLOAT), cell)
        new_kv = [body.op("Concat", cache, token, axis=2) for cache in past_kv]
        total = body.op("ReduceSum", new_kv[0], body.constant([1, 2, 3]), keepdims=0)  # (R,)
        by_example = body.op("Reshape", total, body.op("Shape", tokens))  # (B, K)
        index = body.op("Add", body.op("Cast", by_example, to=TensorProto.INT64), "offsets")
        index = body.op("Mod", body.op("Reshape", index, body.constant([-1])), num)
        return body.op("Gather", table, index), new_kv

    num = builder.constant(num_rows)
    table = builder.constant(log_p, np.float32)
    embedding = TiedEmbedding(VOCAB_SIZE, VOCAB_SIZE, VOCAB_SIZE, "fp32")
    decoder = Decoder(step, embedding, ((1, 1),), SpecialTokens(PAD, BOS, EOS))
    batch = builder.op("Shape", "offsets", start=0, end=1)
    if beam == 1:
        ids = greedy_search(builder, decoder, batch)
    else:
        ids = beam_search(builder, decoder, batch, beam, length_penalty)
    inputs = [helper.make_tensor_value_info("offsets", TensorProto.INT64, ["B", 1])]
    output = helper.make_tensor_value_info(ids, TensorProto.INT64, ["B", "T"])
    session = open_model(make_model(builder, inputs + step_limits(), [output]))
    feed = {
        "offsets": np.array(offsets)[:, None],
        "max_steps": np.array(max_steps),
        "min_steps": np.array(min_steps),
    }
    found: np.ndarray = session.run(None, feed)[0]
    return found


def random_log_p(seed: int, num_rows: int = 7) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(num_rows, VOCAB_SIZE)) * 2
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def score(log_p: np.ndarray, offset: int, ids: Sequence[int], length_penalty: float) -> float:
    total = offset + BOS
    result = 0.0
    for token in ids:
        result += log_p[total % len(log_p), token]
        total += token
    return result / len(ids) ** length_penalty


def until_end(row: np.ndarray) -> list[int]:
    ids = row.tolist()
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids


def chain() -> np.ndarray:
    """From begin to 3 with 0.6 or to 4 with 0.4; after 3 nothing is sure, after 4 the end is."""
    p = np.full((16, VOCAB_SIZE), 1 / VOCAB_SIZE)
    p[BOS] = (1e-9, 1e-9, 1e-9, 0.6, 0.4)
    p[BOS + 3] = (0.1, 0.1, 0.3, 0.25, 0.25)
    p[BOS + 4] = (0.025, 0.025, 0.9, 0.025, 0.025)
    return np.log(p)


def test_greedy_by_hand() -> None:
    assert decode(chain(), [0], 4).tolist() == [[3, EOS]]


def test_beam_search_by_hand() -> None:
    """0.4 * 0.9 is more than 0.6 * 0.3."""
    assert decode(chain(), [0], 4, beam=2).tolist() == [[4, EOS]]


def test_a_length_penalty_favours_long_ones() -> None:
    """0.7 * 0.6 is more than 0.3, but log(0.3) / 4 is more than log(0.42) / 2."""
    p = np.full((16, VOCAB_SIZE), 1 / VOCAB_SIZE)
    p[BOS] = (1e-9, 1e-9, 1e-9, 0.3, 0.7)
    p[BOS + 4] = (0.1, 0.1, 0.6, 0.1, 0.1)
    p[[BOS + 3, BOS + 6]] = (1e-9, 1e-9, 1e-9, 1.0, 1e-9)
    p[BOS + 9] = (1e-9, 1e-9, 1.0, 1e-9, 1e-9)
    assert until_end(decode(np.log(p), [0], 6, beam=2)[0]) == [4, EOS]
    found = decode(np.log(p), [0], 6, beam=2, length_penalty=1.0)
    assert until_end(found[0]) == [3, 3, 3, EOS]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_takes_the_best_token_in_each_step(seed: int) -> None:
    log_p = random_log_p(seed)
    for offset, row in enumerate(decode(log_p, range(7), 6)):
        total = offset + BOS
        for token in until_end(row):
            assert token == log_p[total % 7].argmax()
            total += token


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_a_beam_as_wide_as_the_tree_finds_the_best(seed: int, length_penalty: float) -> None:
    log_p = random_log_p(seed)
    tree = [
        ids
        for length in (1, 2, 3)
        for ids in itertools.product(range(VOCAB_SIZE), repeat=length)
        if EOS not in ids[:-1] and (length == 3 or ids[-1] == EOS)
    ]
    found = decode(log_p, range(7), 3, beam=VOCAB_SIZE**2, length_penalty=length_penalty)
    for offset, row in enumerate(found):
        best = max(tree, key=lambda ids: score(log_p, offset, ids, length_penalty))
        assert until_end(row) == list(best)
