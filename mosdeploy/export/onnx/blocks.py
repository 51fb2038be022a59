"""Parts that any Transformer uses, as nodes: positions, residual stream, attention, FFN."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from onnx import TensorProto

from ..quantize import NumberFormat
from .builder import CONTRIB, GraphBuilder, TensorSpec
from .linear import LinearLayer

MASKED = -1e9
"""What is added to the score of a masked position: its weight is 0 after the softmax, and a row of
nothing but masked positions is still finite.
"""

Activation = Literal["relu", "gelu", "gelu_tanh"]

ACTIVATION_OPS: dict[Activation, tuple[str, str]] = {
    "relu": ("Relu", ""),
    "gelu": ("Gelu", CONTRIB),  # the exact one, by erf; ONNX has its own only since opset 20
    "gelu_tanh": ("FastGelu", CONTRIB),
}


def position_table(root: GraphBuilder, num_positions: int, num_columns: int, dim: int) -> str:
    """Interleaved sinusoids, sin at even columns, cos at odd (Vaswani et al., 2017); computed when
    the model is loaded.
    """

    def count(end: int, step: int) -> str:
        return root.op("Range", *(root.constant(value, np.float64) for value in (0, end, step)))

    rate = root.constant(-np.log(10_000.0) / dim, np.float64)
    frequency = root.op("Exp", root.op("Mul", count(num_columns, 2), rate))  # (columns / 2,)
    position = root.op("Unsqueeze", count(num_positions, 1), root.constant([1, 2]))
    frequency = root.op("Unsqueeze", frequency, root.constant([1]))
    angle = root.op("Mul", position, frequency)  # (positions, columns / 2, 1)
    # cos x = sin(x + pi / 2): one Sin makes both, already side by side
    phases = root.constant([0.0, np.pi / 2], np.float64)
    pairs = root.op("Cast", root.op("Sin", root.op("Add", angle, phases)), to=TensorProto.FLOAT)
    table = root.op("Reshape", pairs, root.constant([num_positions, -1]))
    if num_columns % 2 == 0:
        return table
    # the last cos has no column
    bounds = (root.constant([value]) for value in (0, num_columns, 1))
    return root.op("Slice", table, *bounds)


@dataclass(frozen=True)
class StackSpec:
    """What all layers of one stack have in common."""

    dim: int
    qkv_dim: int
    number_format: NumberFormat
    activation: Activation
    norm_epsilon: float
    pre_norm: bool


@dataclass
class ResidualStream:
    """The residual sum of one stack, and the norm that follows each addition."""

    builder: GraphBuilder
    spec: StackSpec
    norms: list[str]
    final_norm: str
    total: str
    reads: str = field(init=False)

    def __post_init__(self) -> None:
        if self.spec.pre_norm:
            # the norm behind each addition is that of the *next* sublayer
            self.norms = [*self.norms, self.final_norm]
            self.reads = self.norm(self.total, self.norms.pop(0))
        else:
            self.reads = self.total

    def add(self, x: str) -> None:
        """Add a sublayer's output (..., D), and norm the sum."""
        # not Add: ONNX Runtime would fuse it with the norm
        total = self.builder.op("Sum", x, self.total)
        self.reads = self.norm(total, self.norms.pop(0))
        self.total = total if self.spec.pre_norm else self.reads

    def shorten(self, pick: Callable[[str], str]) -> None:
        """Keep some positions alone, of what is read and of the sum."""
        self.reads, self.total = (pick(x) for x in (self.reads, self.total))

    def linear(self, owner: str, *names: str) -> LinearLayer:
        """The layer from the stream to what an attention computes with."""
        spec = self.spec
        return LinearLayer(owner, names, spec.dim, spec.qkv_dim, spec.number_format)

    def project_out(self, owner: str, mixed: str) -> None:
        """Project the mixed values of an attention (..., q) to the stream and add them."""
        spec = self.spec
        out = LinearLayer(owner, ("out",), spec.qkv_dim, spec.dim, spec.number_format)
        self.add(out.apply(self.builder, mixed))

    def norm(self, x: str, name: str) -> str:
        """Add one layer norm on its own."""
        scale = self._vector(f"{name}.weight")
        shift = self._vector(f"{name}.bias")
        epsilon = self.spec.norm_epsilon
        return self.builder.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)

    def _vector(self, key: str) -> str:
        shape = (self.spec.dim,)
        spec = TensorSpec(key, shape)
        return self.builder.parameters([spec], lambda get: (get(key, shape),))[0]


def self_attention(stream: ResidualStream, owner: str, heads: int, mask: str) -> None:
    """Let all positions of the stream (B, S, D) attend to all real ones."""
    builder = stream.builder
    qkv = stream.linear(owner, "q", "k", "v")
    product = qkv.product(builder, stream.reads)  # (B, S, 3q)
    parts = builder.split(product, 3)
    # the operator adds the bias by itself
    inputs = (*parts, qkv.bias(builder), mask)
    settings = {"num_heads": heads, "mask_filter_value": MASKED}
    mixed = builder.op("MultiHeadAttention", *inputs, domain=CONTRIB, **settings)  # (B, S, q)
    stream.project_out(owner, mixed)


def quantized_self_attention(stream: ResidualStream, owner: str, heads: int) -> None:
    """Let all positions of the stream (B, S, D), none of which is padding, attend to all of their
    example, by int8 weights and one operator that quantises its input once for queries, keys and
    values: a tenth faster for a whole encoder.
    """
    builder = stream.builder
    spec = stream.spec
    qkv = LinearLayer(owner, ("q", "k", "v"), spec.dim, spec.qkv_dim, "int8")
    codes, scale, zero_point = builder.ops("DynamicQuantizeLinear", stream.reads, outputs=3)
    weights, scales, weights_zero_point = qkv.columns(builder)
    mixed = builder.op(
        "QAttention",
        # between scales and zero point: no mask
        *(codes, weights, qkv.bias(builder), scale, scales, "", zero_point, weights_zero_point),
        domain=CONTRIB,
        num_heads=heads,
    )  # (B, S, q)
    stream.project_out(owner, mixed)


def first_self_attention(stream: ResidualStream, owner: str, heads: int) -> None:
    """Let the first position of each example alone attend to all of them, none of which is padding,
    and shorten the stream to it, (B, 1, D): for a last layer of which nothing else is read.
    """
    builder = stream.builder
    attended = stream.linear(owner, "k", "v")
    halves = builder.split(attended.apply(builder, stream.reads), 2)
    bounds = [builder.constant([value]) for value in (0, 1, 1)]
    stream.shorten(lambda x: builder.op("Slice", x, *bounds))
    query = stream.linear(owner, "q")
    inputs = (query.apply(builder, stream.reads), *halves)
    mixed = builder.op("MultiHeadAttention", *inputs, domain=CONTRIB, num_heads=heads)  # (B, 1, q)
    stream.project_out(owner, mixed)


def cached_self_attention(
    stream: ResidualStream, owner: str, heads: int, past_kv: Sequence[str], beam: int
) -> tuple[str, str]:
    """Let one more position of each hypothesis, the stream (B, K, D), attend to those before it."""
    builder = stream.builder
    spec = stream.spec
    qkv = stream.linear(owner, "q", "k", "v")
    x = qkv.product(builder, stream.reads)  # (B, K, 3q)
    # hypotheses must not see one another: each is a row of its own here, of length 1
    if beam > 1:
        x = builder.op("Reshape", x, builder.constant([-1, 1, 3 * spec.qkv_dim]))  # (R, 1, 3q)
    parts = builder.split(x, 3)
    inputs = (*parts, qkv.bias(builder), "", "", *past_kv)  # without mask and score bias
    mixed, keys, values = builder.ops(
        "MultiHeadAttention", *inputs, outputs=3, domain=CONTRIB, num_heads=heads
    )
    if beam > 1:
        mixed = builder.op("Reshape", mixed, builder.constant([-1, beam, spec.qkv_dim]))
    stream.project_out(owner, mixed)
    return keys, values


@dataclass(frozen=True)
class CrossKeyValues:
    """What one layer's attention reads of another stack."""

    keys: str
    values: str
    score_bias: str


def cross_keys_values(
    builder: GraphBuilder, spec: StackSpec, owner: str, heads: int, source: str
) -> tuple[str, str]:
    """Keys and values (B, heads, L, h) of what is attended to."""
    linear = LinearLayer(owner, ("k", "v"), spec.dim, spec.qkv_dim, spec.number_format)
    product = linear.apply(builder, source)  # (B, L, 2q)
    halves = builder.split(product, 2)
    shape = builder.constant([0, 0, heads, spec.qkv_dim // heads])
    keys, values = (
        builder.op("Transpose", builder.op("Reshape", x, shape), perm=[0, 2, 1, 3]) for x in halves
    )
    return keys, values


def cross_attention(
    stream: ResidualStream, owner: str, heads: int, cross_kv: CrossKeyValues
) -> None:
    """Let the hypotheses of the stream (B, K, D) attend to another stack's outputs."""
    builder = stream.builder
    linear = stream.linear(owner, "q")
    query = linear.apply(builder, stream.reads)  # (B, K, q)
    # between values and score bias: a bias and a padding mask, both left out
    inputs = (query, cross_kv.keys, cross_kv.values, "", "", cross_kv.score_bias)
    mixed = builder.op("MultiHeadAttention", *inputs, domain=CONTRIB, num_heads=heads)
    stream.project_out(owner, mixed)


def feed_forward(stream: ResidualStream, owner: str, ffn_dim: int) -> None:
    """Add the FFN of the layer `owner`, whose linear layers are `fc1` and `fc2`."""
    builder = stream.builder
    spec = stream.spec
    inner = LinearLayer(owner, ("fc1",), spec.dim, ffn_dim, spec.number_format)
    outer = LinearLayer(owner, ("fc2",), ffn_dim, spec.dim, spec.number_format)
    op_type, domain = ACTIVATION_OPS[spec.activation]
    hidden = builder.op(op_type, inner.apply(builder, stream.reads), domain=domain)  # (..., ffn)
    stream.add(outer.apply(builder, hidden))


# -- texts of different lengths in one row, without padding: what is computed for a token alone runs
# on all tokens together, and attention on one text after another ---------------------------------


@dataclass(frozen=True)
class Segments:
    """The parts of a row that are a text each, in order."""

    starts: str
    ends: str
    count: str

    def of(self, body: GraphBuilder, number: str, row: str) -> str:
        """One text (1, n, ...) of a row (1, T, ...)."""
        ends = (_entry(body, x, number, axis=0) for x in (self.starts, self.ends))
        return body.op("Slice", row, *ends, body.constant([1]))

    def firsts(self, builder: GraphBuilder, row: str) -> str:
        """The first token of each text, (1, B, ...), of a row (1, T, ...)."""
        return builder.op("Gather", row, self.starts, axis=1)


def packed_self_attention(
    stream: ResidualStream, owner: str, heads: int, segments: Segments
) -> None:
    """Let all tokens of the stream (1, T, D) attend to those of their text."""
    qkv = stream.linear(owner, "q", "k", "v")
    row = qkv.apply(stream.builder, stream.reads)  # (1, T, 3q)

    def attend(body: GraphBuilder, text: str, number: str | None) -> str:
        parts = body.split(text, 3)
        return body.op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=heads)

    stream.project_out(owner, _text_by_text(stream, owner, segments, row, attend))


def packed_first_attention(
    stream: ResidualStream, owner: str, heads: int, segments: Segments
) -> None:
    """Let the first token of each text alone attend to those of its text, and shorten the stream to
    these tokens, (1, B, D): for a last layer of which nothing else is read.
    """
    builder = stream.builder
    attended = stream.linear(owner, "k", "v")
    row = attended.apply(builder, stream.reads)  # (1, T, 2q)
    stream.shorten(lambda x: segments.firsts(builder, x))
    query = stream.linear(owner, "q")
    queries = query.apply(builder, stream.reads)  # (1, B, q)

    def attend(body: GraphBuilder, text: str, number: str | None) -> str:
        halves = body.split(text, 2)
        own = queries if number is None else _entry(body, queries, number, axis=1)
        return body.op("MultiHeadAttention", own, *halves, domain=CONTRIB, num_heads=heads)

    stream.project_out(owner, _text_by_text(stream, owner, segments, row, attend))


def _text_by_text(
    stream: ResidualStream,
    owner: str,
    segments: Segments,
    row: str,
    attend: Callable[[GraphBuilder, str, str | None], str],
) -> str:
    """What attention gives for each text of a row (1, T, ...), side by side again, (1, T, q)."""
    builder = stream.builder
    width = stream.spec.qkv_dim

    def loop(body: GraphBuilder) -> str:
        found = body.for_each(
            owner,
            segments.count,
            (1, None, width),
            lambda text, number: attend(text, segments.of(text, number, row), number),
        )
        return body.op("ConcatFromSequence", found, axis=1)

    is_alone = builder.op("Equal", segments.count, builder.constant(1))
    mixed = builder.branch(owner, is_alone, lambda body: attend(body, row, None), loop)
    # moves nothing: without a known rank, ONNX Runtime fuses no bias with what follows
    return builder.op("Reshape", mixed, builder.constant([1, -1, width]))


def _entry(body: GraphBuilder, x: str, number: str, axis: int) -> str:
    """One entry along an axis, which stays."""
    row = body.op("Unsqueeze", number, body.constant([0]))
    return body.op("Gather", x, row, axis=axis)


# -- a padded batch by ONNX's own operators, without branches and loops: for execution providers
# that take these apart, as those of GPUs and OpenVINO do ------------------------------------------


def padding_bias(builder: GraphBuilder, is_real: str) -> str:
    """What is added to the scores of each position, float (B, 1, 1, S), where real tokens are given
    as bool (B, S).
    """
    zero, masked = (builder.constant(value, np.float32) for value in (0, MASKED))
    bias = builder.op("Where", is_real, zero, masked)
    return builder.op("Unsqueeze", bias, builder.constant([1, 2]))


def padded_self_attention(stream: ResidualStream, owner: str, heads: int, bias: str) -> None:
    """Let all positions of the stream (B, S, D) attend to the real ones of their text."""
    spec = stream.spec
    qkv = stream.linear(owner, "q", "k", "v")
    row = qkv.apply(stream.builder, stream.reads)  # (B, S, 3q)
    query, key, value = stream.builder.split(row, 3)
    mixed = _mixed(stream.builder, (query, key, value), heads, spec.qkv_dim, bias)
    stream.project_out(owner, mixed)


def padded_first_attention(stream: ResidualStream, owner: str, heads: int, bias: str) -> None:
    """Let the first position of each text alone attend to the real ones, and shorten the stream to
    it, (1, B, D): for a last layer of which nothing else is read.
    """
    builder = stream.builder
    spec = stream.spec
    attended = stream.linear(owner, "k", "v")
    halves = attended.apply(builder, stream.reads)  # (B, S, 2q)
    key, value = builder.split(halves, 2)
    stream.shorten(lambda x: _firsts(builder, x))
    query = stream.linear(owner, "q")
    queries = _as_rows(builder, query.apply(builder, stream.reads), (-1, 1, spec.qkv_dim))
    mixed = _mixed(builder, (queries, key, value), heads, spec.qkv_dim, bias)  # (B, 1, q)
    stream.project_out(owner, _as_rows(builder, mixed, (1, -1, spec.qkv_dim)))


def _mixed(
    builder: GraphBuilder, qkv: tuple[str, str, str], heads: int, width: int, bias: str
) -> str:
    """Values (B, S, q) mixed by the scores of queries (B, N, q) and keys (B, S, q): (B, N, q)."""
    query, key, value = (_as_rows(builder, x, (0, -1, heads, width // heads)) for x in qkv)
    query = builder.op("Transpose", query, perm=[0, 2, 1, 3])  # (B, heads, N, h)
    key = builder.op("Transpose", key, perm=[0, 2, 3, 1])  # (B, heads, h, S)
    value = builder.op("Transpose", value, perm=[0, 2, 1, 3])
    scale = builder.constant((width // heads) ** -0.5, np.float32)
    scores = builder.op("Mul", builder.op("MatMul", query, key), scale)
    shares = builder.op("Softmax", builder.op("Add", scores, bias), axis=-1)
    mixed = builder.op("Transpose", builder.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    return _as_rows(builder, mixed, (0, -1, width))


def _firsts(builder: GraphBuilder, x: str) -> str:
    """The first position of each text (B, S, D) side by side, (1, B, D)."""
    first = builder.op("Gather", x, builder.constant(0), axis=1)
    return builder.op("Unsqueeze", first, builder.constant([0]))


def _as_rows(builder: GraphBuilder, x: str, shape: tuple[int, ...]) -> str:
    return builder.op("Reshape", x, builder.constant(list(shape)))
