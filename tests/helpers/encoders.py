"""Small encoders with random weights, and what they must answer, computed in numpy."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mosdeploy.spaces.encoder import (
    VECTOR_HEADS,
    BertLayerConfig,
    EncoderArch,
    EncoderSpace,
    EncoderWorkload,
)
from mosdeploy.spaces.spec import ModelSpec

VOCAB_SIZE = 50

Weights = Mapping[str, np.ndarray]


def encoder_space(**changed: object) -> EncoderSpace:
    """Heads of width 8 in a network 24 wide; attention narrower or wider than that."""
    fields = {
        "embed_dim": (24,),
        "layers": (1, 2, 3),
        "ffn_dim": (20, 40),
        "heads": (1, 2, 4),
        "head_dim": 8,
        "max_positions": 20,
        "num_outputs": 3,
    }
    return EncoderSpace(**{**fields, **changed})


def uneven_arch(embed_dim: int = 24, dims: Sequence[int | None] = (None, None)) -> EncoderArch:
    """Two layers of these widths inside."""
    sizes = zip((40, 20), (4, 1), dims, strict=True)
    layers = tuple(BertLayerConfig(ffn_dim=f, heads=h, dim=dim) for f, h, dim in sizes)
    return EncoderArch(embed_dim=embed_dim, layers=layers)


def encoder_spec(
    space: EncoderSpace,
    precision: str = "fp32",
    vocab_size: int = VOCAB_SIZE,
    batch: int = 1,
    padding: str = "removed",
) -> ModelSpec:
    workload = EncoderWorkload(precision=precision, input_len=12, batch=batch, padding=padding)
    return ModelSpec(space, vocab_size, workload)


def random_weights(
    space: EncoderSpace, arch: EncoderArch, seed: int = 0, vocab_size: int = VOCAB_SIZE
) -> dict[str, np.ndarray]:
    """Weights of a subnet whose answers depend on every input."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    d = arch.embed_dim
    t = space.table_dim or d

    def draw(name: str, *shape: int, scale: float = 1.0) -> None:
        weights[name] = (scale * rng.normal(size=shape)).astype(np.float32)

    def linear(name: str, num_inputs: int, num_outputs: int, gain: float = 1.0) -> None:
        draw(f"{name}.weight", num_outputs, num_inputs, scale=gain * num_inputs**-0.5)
        draw(f"{name}.bias", num_outputs, scale=0.1)

    def norm(name: str, dim: int) -> None:
        draw(f"{name}.weight", dim)
        draw(f"{name}.bias", dim, scale=0.1)

    draw("embed.weight", vocab_size, t)
    draw("positions.weight", space.max_positions, t)
    if space.num_types:
        draw("types.weight", space.num_types, t)
    norm("embed_norm", t)
    if space.table_dim:
        linear("embed_project", t, d)
    for i, layer in enumerate(arch.layers):
        key = f"layers.{i}"
        outer = arch.embed_dim
        d = layer.dim or outer
        q = space.attention_dim(d, layer.heads)
        if layer.dim:
            linear(f"{key}.narrow", outer, d)
            linear(f"{key}.widen", d, outer)
        for name in ("q", "k", "v"):
            linear(f"{key}.self_attn.{name}", d, q, gain=1.5)
        linear(f"{key}.self_attn.out", q, d)
        linear(f"{key}.fc1", d, layer.ffn_dim)
        linear(f"{key}.fc2", layer.ffn_dim, d)
        norm(f"{key}.self_attn_norm", d)
        norm(f"{key}.ffn_norm", d)
    d = arch.embed_dim
    if space.head == "pooled":
        linear("head.dense", d, d)
    if space.head in ("pooled", "tokens"):
        linear("head.out", d, space.num_outputs)
    if space.head == "pooled" and space.num_outputs == 1:
        weights["head.scale"] = np.array([0.5, 1.5], np.float32)
    if space.head == "masked-lm":
        linear("head.dense", d, t)
        norm("head.norm", t)
        draw("head.bias", vocab_size)
    return weights


def random_ids(
    lengths: Sequence[int], seed: int = 0, vocab_size: int = VOCAB_SIZE
) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, vocab_size, length).tolist() for length in lengths]


def padded(rows: Sequence[Sequence[int]], pad_id: int = 0) -> dict[str, np.ndarray]:
    """Graph inputs of a batch; the second half of each text is of the second type."""
    longest = max(map(len, rows))
    inputs = {
        name: np.zeros((len(rows), longest), np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    inputs["input_ids"][:] = pad_id
    for i, ids in enumerate(rows):
        inputs["input_ids"][i, : len(ids)] = ids
        inputs["attention_mask"][i, : len(ids)] = 1
        inputs["token_type_ids"][i, (len(ids) + 1) // 2 : len(ids)] = 1
    return inputs


def answer_in_numpy(
    space: EncoderSpace, arch: EncoderArch, weights: Weights, inputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """What the network answers to one text, without padding, (1, S)."""
    ids = inputs["input_ids"][0]
    x = weights["embed.weight"][ids] + weights["positions.weight"][: len(ids)]
    if space.num_types:
        x = x + weights["types.weight"][inputs["token_type_ids"][0]]
    x = _norm(weights, "embed_norm", x, space.norm_epsilon)
    if space.table_dim:
        x = _linear(weights, "embed_project", x)
    activate = ACTIVATIONS[space.activation]
    for i, layer in enumerate(arch.layers):
        key = f"layers.{i}"
        if layer.dim:
            x = _linear(weights, f"{key}.narrow", x)
        mixed = _attend(weights, f"{key}.self_attn", x, layer.heads)
        x = _norm(weights, f"{key}.self_attn_norm", x + mixed, space.norm_epsilon)
        hidden = activate(_linear(weights, f"{key}.fc1", x))
        x = x + _linear(weights, f"{key}.fc2", hidden)
        x = _norm(weights, f"{key}.ffn_norm", x, space.norm_epsilon)
        if layer.dim:
            x = _linear(weights, f"{key}.widen", x)
    return _head(space, weights, x)


def _head(space: EncoderSpace, weights: Weights, x: np.ndarray) -> np.ndarray:
    if space.head == "pooled":
        out = _linear(weights, "head.out", np.tanh(_linear(weights, "head.dense", x[0])))
        center, spread = weights.get("head.scale", (0.0, 1.0))
        return center + spread * out
    if space.head == "tokens":
        return _linear(weights, "head.out", x)
    if space.head in VECTOR_HEADS:
        vector = x.mean(0) if space.head == "vector" else x[0]
        return vector / np.linalg.norm(vector)
    x = ACTIVATIONS[space.activation](_linear(weights, "head.dense", x))
    x = _norm(weights, "head.norm", x, space.norm_epsilon)
    return x @ weights["embed.weight"].T + weights["head.bias"]


def _linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, x: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attend(weights: Weights, key: str, x: np.ndarray, heads: int) -> np.ndarray:
    q, k, v = (
        _linear(weights, f"{key}.{name}", x).reshape(len(x), heads, -1).transpose(1, 0, 2)
        for name in "qkv"
    )
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = (shares @ v).transpose(1, 0, 2).reshape(len(x), -1)
    return _linear(weights, f"{key}.out", mixed)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}
