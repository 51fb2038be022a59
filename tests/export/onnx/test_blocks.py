import math
from functools import partial

import numpy as np
import pytest
from onnx_parts import run_part

from mosdeploy.export.onnx.blocks import (
    MASKED,
    CrossKeyValues,
    ResidualStream,
    Segments,
    StackSpec,
    cached_self_attention,
    cross_attention,
    cross_keys_values,
    feed_forward,
    first_self_attention,
    packed_first_attention,
    packed_self_attention,
    position_table,
    quantized_self_attention,
    self_attention,
)

HEADS = 2


def make_spec(**changed: object) -> StackSpec:
    fields = {
        "dim": 6,
        "qkv_dim": 8,
        "number_format": "fp32",
        "activation": "relu",
        "norm_epsilon": 1e-5,
        "pre_norm": False,
    }
    return StackSpec(**{**fields, **changed})


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def make_weights() -> dict[str, np.ndarray]:
    shapes = {f"attn.{name}": (8, 6) for name in "qkv"}
    shapes |= {"attn.out": (6, 8), "layer.fc1": (10, 6), "layer.fc2": (6, 10)}
    weights = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        weights[f"{name}.weight"] = random(*shape, seed=seed)
        weights[f"{name}.bias"] = random(shape[0], seed=seed)
    for seed, name in enumerate(("norm", "final")):
        weights[f"{name}.weight"] = random(6, seed=10 + seed)
        weights[f"{name}.bias"] = random(6, seed=20 + seed)
    return weights


def linear(name: str, x: np.ndarray) -> np.ndarray:
    weights = make_weights()
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(name: str, x: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    weights = make_weights()
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attend(x: np.ndarray, source: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Attention in numpy: x (N, D) to source (L, D), mask (N, L) true where it may look."""
    query, keys, values = (
        linear(f"attn.{name}", y).reshape(len(y), HEADS, -1).transpose(1, 0, 2)
        for name, y in (("q", x), ("k", source), ("v", source))
    )
    scores = query @ keys.transpose(0, 2, 1) / math.sqrt(query.shape[2])
    weights = np.exp(np.where(mask, scores, -np.inf))
    weights /= weights.sum(-1, keepdims=True)
    return linear("attn.out", (weights @ values).transpose(1, 0, 2).reshape(len(x), -1))


def reads_after(sublayer, x: np.ndarray, *inputs: np.ndarray, **changed: object) -> np.ndarray:
    """What is read of a stream after one sublayer."""

    def emit(builder, x: str, *names: str) -> str:
        stream = ResidualStream(builder, make_spec(**changed), ["norm"], "final", x)
        sublayer(stream, *names)
        return stream.reads

    (found,) = run_part(make_weights(), emit, x, *inputs)
    return found


# -- positions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_columns", [4, 5])
def test_positions_are_vaswanis(num_columns: int) -> None:
    (found,) = run_part({}, lambda b: position_table(b, 7, num_columns, 6))
    for position in range(7):
        for column in range(num_columns):
            angle = position / 10_000 ** (column // 2 * 2 / 6)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert found[position, column] == pytest.approx(expected, abs=1e-6)


# -- residual stream -------------------------------------------------------------------------------


def test_post_norm_norms_the_sum() -> None:
    x = random(1, 3, 6)
    y = random(1, 3, 6, seed=1)

    def emit(builder, x: str, y: str) -> list[str]:
        stream = ResidualStream(builder, make_spec(), ["norm"], "final", x)
        assert stream.reads == x
        stream.add(y)
        return [stream.reads, stream.total]

    reads, total = run_part(make_weights(), emit, x, y)
    assert reads == pytest.approx(norm("norm", x + y), abs=1e-5) and (reads == total).all()


def test_pre_norm_keeps_the_sum_and_norms_what_is_read() -> None:
    x = random(1, 3, 6)
    y = random(1, 3, 6, seed=1)

    def emit(builder, x: str, y: str) -> list[str]:
        stream = ResidualStream(builder, make_spec(pre_norm=True), ["norm"], "final", x)
        first = stream.reads
        stream.add(y)
        return [first, stream.reads, stream.total]

    first, reads, total = run_part(make_weights(), emit, x, y)
    assert first == pytest.approx(norm("norm", x), abs=1e-5)
    assert total == pytest.approx(x + y, abs=1e-5)
    assert reads == pytest.approx(norm("final", x + y), abs=1e-5)


# -- sublayers -------------------------------------------------------------------------------------


def test_self_attention_is_numpys() -> None:
    x = random(2, 4, 6)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    found = reads_after(lambda stream, mask: self_attention(stream, "attn", HEADS, mask), x, mask)
    for row, source, real in zip(found, x, mask, strict=True):
        expected = norm("norm", source + attend(source, source, np.tile(real > 0, (4, 1))))
        assert row[real > 0] == pytest.approx(expected[real > 0], abs=1e-4)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_first_position_attends_as_it_does_among_all(pre_norm: bool) -> None:
    x = random(2, 4, 6)
    mask = np.ones((2, 4), np.int32)

    def emit(builder, x: str, mask: str) -> list[str]:
        found = []
        for attention in (first_self_attention, partial(self_attention, mask=mask)):
            spec = make_spec(pre_norm=pre_norm)
            stream = ResidualStream(builder, spec, ["norm", "norm"], "final", x)
            attention(stream, "attn", HEADS)
            feed_forward(stream, "layer", 10)
            found.append(stream.reads)
        return found

    first, everything = run_part(make_weights(), emit, x, mask)
    assert first.shape == (2, 1, 6)
    assert first == pytest.approx(everything[:, :1], abs=1e-5)


def test_quantized_self_attention_is_nearly_numpys() -> None:
    """With an attention wider than the stream."""
    x = random(1, 4, 6)
    found = reads_after(lambda stream: quantized_self_attention(stream, "attn", HEADS), x)
    exact = norm("norm", x[0] + attend(x[0], x[0], np.ones((4, 4), bool)))
    assert 0 < np.abs(found[0] - exact).max() < 0.1


@pytest.mark.parametrize("lengths", [(3, 1, 4), (5,)])
@pytest.mark.parametrize("reads_first", [False, True])
def test_each_text_in_a_row_attends_to_itself_alone(
    reads_first: bool, lengths: tuple[int, ...]
) -> None:
    x = random(1, sum(lengths), 6)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    attention = packed_first_attention if reads_first else packed_self_attention

    def sublayer(stream: ResidualStream, *segments: str) -> None:
        attention(stream, "attn", HEADS, Segments(*segments))

    found = reads_after(sublayer, x, starts, ends, np.array(len(lengths)))
    texts = [x[0, a:b] for a, b in zip(starts, ends, strict=True)]
    expected = [norm("norm", t + attend(t, t, np.ones((len(t), len(t)), bool))) for t in texts]
    if reads_first:
        expected = [rows[:1] for rows in expected]
    assert found[0] == pytest.approx(np.concatenate(expected), abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_cache_replaces_the_earlier_positions(beam: int) -> None:
    """One position at a time is the whole under a causal mask, for each hypothesis on its own."""
    x = random(2, beam, 4, 6)  # (B, K, T, D)

    def emit(builder, *steps: str) -> list[str]:
        empty = builder.constant(np.zeros((2 * beam, HEADS, 0, 4)), np.float32)
        past_kv = (empty, empty)
        outputs = []
        for step in steps:
            stream = ResidualStream(builder, make_spec(), ["norm"], "final", step)
            past_kv = cached_self_attention(stream, "attn", HEADS, past_kv, beam)
            outputs.append(stream.reads)
        return [*outputs, *past_kv]

    *found, keys, values = run_part(make_weights(), emit, *(x[:, :, t] for t in range(4)))
    assert keys.shape == values.shape == (2 * beam, HEADS, 4, 4)
    causal = np.tril(np.ones((4, 4), bool))
    for b in range(2):
        for k in range(beam):
            expected = norm("norm", x[b, k] + attend(x[b, k], x[b, k], causal))
            row = np.stack([step[b, k] for step in found])
            assert row == pytest.approx(expected, abs=1e-4)


def test_cross_attention_is_numpys() -> None:
    x = random(1, 3, 6)  # three hypotheses
    source = random(1, 5, 6, seed=1)
    real = np.array([True, True, True, False, False])
    bias = np.where(real, 0.0, MASKED) * np.ones((1, HEADS, 3, 1))

    def sublayer(stream: ResidualStream, source: str) -> None:
        keys, values = cross_keys_values(stream.builder, make_spec(), "attn", HEADS, source)
        score_bias = stream.builder.constant(bias, np.float32)
        cross_attention(stream, "attn", HEADS, CrossKeyValues(keys, values, score_bias))

    found = reads_after(sublayer, x, source)
    expected = norm("norm", x[0] + attend(x[0], source[0], np.tile(real, (3, 1))))
    assert found[0] == pytest.approx(expected, abs=1e-4)


def relu(x: float) -> float:
    return max(x, 0.0)


def gelu(x: float) -> float:
    return x / 2 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("activation", [relu, gelu, gelu_tanh])
def test_feed_forward_uses_the_activation(activation) -> None:
    x = random(1, 3, 6)

    def sublayer(stream: ResidualStream) -> None:
        feed_forward(stream, "layer", 10)

    found = reads_after(sublayer, x, activation=activation.__name__)
    hidden = np.vectorize(activation)(linear("layer.fc1", x))
    expected = norm("norm", x + linear("layer.fc2", hidden))
    assert found == pytest.approx(expected, abs=1e-4)
