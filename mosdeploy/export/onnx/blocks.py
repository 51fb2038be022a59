"""The layers of the Transformer as nodes: the encoder over a whole source, the decoder over one
step.

In: an architecture, ids, the keys and values so far. Out: encoder outputs; the decoder's last
vectors and the keys and values one step longer. This file knows no loop: what is done with the
vectors is `decode_loop`'s.

Shapes: B sentences, K hypotheses a sentence (1 is greedy), S source length, L attended length
(cross_span * S), R = B * K rows, P past length, e and d embed widths, q = heads * h the q/k/v
width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from ...spaces.genes import ArchConfig, SearchSpace
from ...spaces.translation import DecoderLayerConfig
from ..quantize import NumberFormat, PrecisionScheme
from .builder import CONTRIB, GraphBuilder
from .embedding import TiedEmbedding
from .initializers import TensorSpec
from .linear import LinearLayer

LAYER_NORM_EPSILON = 1e-5
_MASKED = -1e9


def position_table(root: GraphBuilder, num_positions: int, num_columns: int, dim: int) -> str:
    """Interleaved sinusoids, sin at even columns, cos at odd (Vaswani et al., 2017); computed when
    the model is loaded.

    Parameters
    ----------
    num_positions, num_columns
        Shape of the result, float32; computed in double precision, as torch does.
    dim
        Width that sets the frequencies, exp(-2i * ln(10000) / dim); at least `num_columns`.
    """

    def count(end: int, step: int) -> str:
        return root.op("Range", *(root.constant(value, np.float64) for value in (0, end, step)))

    rate = root.constant(-np.log(10_000.0) / dim, np.float64)
    frequency = root.op("Exp", root.op("Mul", count(num_columns, 2), rate))
    position = root.op("Unsqueeze", count(num_positions, 1), root.constant([1, 2]))
    angle = root.op(
        "Mul", position, root.op("Unsqueeze", frequency, root.constant([1]))
    )  # (P, columns / 2, 1)
    phases = root.constant([0.0, np.pi / 2], np.float64)  # cos x = sin(x + pi / 2)
    pairs = root.op("Cast", root.op("Sin", root.op("Add", angle, phases)), to=TensorProto.FLOAT)
    table = root.op("Reshape", pairs, root.constant([num_positions, -1]))
    if num_columns % 2 == 0:
        return table
    return root.op(
        "Slice", table, root.constant([0]), root.constant([num_columns]), root.constant([1])
    )


@dataclass
class ResidualStream:
    """The residual sum of one side, and the norm that follows each addition, fused with it.

    Pre-norm: what a sublayer reads is the normed sum, and the last norm is the side's final one.
    Post-norm: the normed sum *is* the stream.

    Attributes
    ----------
    total
        Name of the residual sum, (..., dim).
    reads
        Name of what the next sublayer reads.
    """

    scope: GraphBuilder
    side: str
    dim: int
    pre_norm: bool
    norms: list[str]
    total: str
    reads: str = field(init=False)

    def __post_init__(self) -> None:
        if self.pre_norm:
            self.norms = [*self.norms, f"{self.side}.norm"]
            self.reads = self.norm(self.total, self.norms.pop(0))
        else:
            self.reads = self.total

    def add(self, x: str, bias: str) -> None:
        """Add a sublayer's output (..., dim) and its bias (dim,), and norm the sum."""
        norm = self._scale_and_shift(self.norms.pop(0))
        arguments = ("SkipLayerNormalization", x, self.total, *norm, bias)
        outputs = self.scope.ops(*arguments, outputs=4, domain=CONTRIB, epsilon=LAYER_NORM_EPSILON)
        node = self.scope.nodes[-1]
        node.output[1] = node.output[2] = ""  # mean and deviation are not computed on the CPU
        self.reads = outputs[0]
        if self.pre_norm:
            self.total = outputs[3]
        else:
            self.total = outputs[0]
            del node.output[1:]

    def norm(self, x: str, name: str) -> str:
        """One layer norm on its own."""
        return self.scope.op(
            "LayerNormalization",
            x,
            *self._scale_and_shift(name),
            axis=-1,
            epsilon=LAYER_NORM_EPSILON,
        )

    def _scale_and_shift(self, name: str) -> list[str]:
        return [self._vector(f"{name}.weight"), self._vector(f"{name}.bias")]

    def _vector(self, key: str) -> str:
        shape = (self.dim,)
        return self.scope.parameters([TensorSpec(key, shape)], lambda get: (get(key, shape),))[0]


@dataclass(frozen=True)
class GraphSpec:
    """Everything that the nodes of one graph depend on."""

    arch: ArchConfig
    space: SearchSpace
    scheme: PrecisionScheme
    vocab_size: int
    beam: int
    max_positions: int

    @property
    def pre_norm(self) -> bool:
        return self.space.norm == "pre"

    @property
    def table(self) -> TiedEmbedding:
        widths = self.arch.encoder_embed_dim, self.arch.decoder_embed_dim
        return TiedEmbedding(self.vocab_size, *widths, self.scheme.table, self.scheme.int4_logits)

    @property
    def step_format(self) -> NumberFormat:
        return self.scheme.step_format(self.beam)

    def positions(self, scope: GraphBuilder) -> str:
        """Position table (max_positions, max(e, d))."""
        shape = (self.max_positions, max(self.arch.encoder_embed_dim, self.arch.decoder_embed_dim))
        dim = max(*self.space.encoder_embed_dim, *self.space.decoder_embed_dim)
        return position_table(scope.root, *shape, dim)


# -- encoder ---------------------------------------------------------------------------------------
# ----------------


def encode(
    scope: GraphBuilder, plan: GraphSpec, source_ids: str, mask: str, positions: str
) -> list[str]:
    """Run the encoder.

    Parameters
    ----------
    source_ids
        int64 (B, S).
    mask
        int32 (B, S), 1 at real tokens.
    positions
        From `GraphSpec.positions`.

    Returns
    -------
    list of str
        What can be attended to, each (B, S, e): the output of every layer that some cross span
        reaches, deepest last.
    """
    dim = plan.arch.encoder_embed_dim
    length = scope.op("Shape", source_ids, start=1, end=2)
    corner = scope.op("Concat", length, scope.constant([dim]), axis=0)
    rows = scope.op("Slice", positions, scope.constant([0, 0]), corner)  # (S, e)
    x = scope.op("Add", plan.table.embed_source(scope, source_ids), rows)
    keys = [f"encoder.layers.{i}" for i in range(len(plan.arch.encoder_layers))]
    norms = [f"{key}.{norm}" for key in keys for norm in ("self_attn_norm", "ffn_norm")]
    stream = ResidualStream(scope, "encoder", dim, plan.pre_norm, norms, x)
    span = max(layer.cross_span for layer in plan.arch.decoder_layers)
    outputs = []
    for i, (key, layer) in enumerate(zip(keys, plan.arch.encoder_layers, strict=True)):
        qkv = LinearLayer(
            f"{key}.self_attn", ("q", "k", "v"), dim, plan.space.qkv_dim, plan.scheme.encoder
        )
        parts = scope.ops(
            "Split", qkv.product(scope, stream.reads), outputs=3, axis=-1, num_outputs=3
        )
        tensors, settings = (
            (*parts, qkv.bias(scope), mask),
            {"num_heads": layer.heads, "mask_filter_value": _MASKED},
        )
        mixed = scope.op("MultiHeadAttention", *tensors, domain=CONTRIB, **settings)  # (B, S, q)
        out = LinearLayer(
            f"{key}.self_attn", ("out",), plan.space.qkv_dim, dim, plan.scheme.encoder
        )
        stream.add(out.product(scope, mixed), out.bias(scope))
        _feed_forward(stream, key, layer.ffn_dim, plan.scheme.encoder)
        if i >= len(keys) - span:
            is_last = i == len(keys) - 1
            outputs.append(
                stream.norm(stream.total, "encoder.norm")
                if plan.pre_norm and not is_last
                else stream.reads
            )
    return outputs


# -- decoder ---------------------------------------------------------------------------------------
# ----------------


@dataclass(frozen=True)
class CrossMemory:
    """What one decoder layer reads of the encoder.

    Keys and values (B, heads, L, h), and what is added to the scores to mask the padding, (B,
    heads, K, L). A padding mask would be shorter, but ONNX Runtime before 1.21 ignores it, without
    a word, when keys are given in this shape.
    """

    keys: str
    values: str
    score_bias: str


@dataclass(frozen=True)
class DecoderMemory:
    """What stays the same in every step: cross-attention memories, position rows (max_positions,
    d).
    """

    cross: tuple[CrossMemory, ...]
    positions: str


def prepare_decoder(
    scope: GraphBuilder, plan: GraphSpec, outputs: Sequence[str], mask: str, positions: str
) -> DecoderMemory:
    """Compute, outside the loop, what every step reads."""
    layers = plan.arch.decoder_layers
    kinds = dict.fromkeys(
        (layer.cross_span, layer.cross_heads) for layer in layers
    )  # in order, each once
    biases = {kind: _score_bias(scope, plan, *kind, mask) for kind in kinds}
    cross = tuple(
        _cross_memory(scope, plan, i, layer, outputs, biases[layer.cross_span, layer.cross_heads])
        for i, layer in enumerate(layers)
    )
    dim = plan.arch.decoder_embed_dim
    if dim < plan.arch.encoder_embed_dim:
        positions = scope.op(
            "Slice", positions, scope.constant([0]), scope.constant([dim]), scope.constant([-1])
        )
    return DecoderMemory(cross, positions)


def decode_step(
    scope: GraphBuilder,
    plan: GraphSpec,
    memory: DecoderMemory,
    tokens: str,
    position: str,
    past: Sequence[str],
) -> tuple[str, list[str]]:
    """Run the decoder on one more token of each hypothesis.

    Parameters
    ----------
    tokens
        int64 (B, K).
    position
        int64 scalar, that of these tokens.
    past
        Keys and values of layer 0, of layer 1, ..., each (R, heads, P, h).

    Returns
    -------
    rows, present
        Float (R, d), from which the table makes logits, and the keys and values as `past` has them,
        P + 1 long.
    """
    dim = plan.arch.decoder_embed_dim
    x = scope.op(
        "Add",
        plan.table.embed_target(scope, tokens),
        scope.op("Gather", memory.positions, position),
    )
    keys = [f"decoder.layers.{i}" for i in range(len(plan.arch.decoder_layers))]
    norms = [
        f"{key}.{norm}"
        for key in keys
        for norm in ("self_attn_norm", "cross_attn_norm", "ffn_norm")
    ]
    stream = ResidualStream(scope, "decoder", dim, plan.pre_norm, norms, x)  # (B, K, d)
    present: list[str] = []
    for i, (key, layer) in enumerate(zip(keys, plan.arch.decoder_layers, strict=True)):
        present += _self_attention(stream, plan, key, layer.self_heads, past[2 * i : 2 * i + 2])
        _cross_attention(stream, plan, key, layer.cross_heads, memory.cross[i])
        _feed_forward(stream, key, layer.ffn_dim, plan.step_format)
    return scope.op("Reshape", stream.reads, scope.constant([-1, dim])), present


def _score_bias(scope: GraphBuilder, plan: GraphSpec, span: int, heads: int, mask: str) -> str:
    """Zero at real tokens of the attended outputs, very low at padding: float (B, heads, K, L)."""
    span_mask = scope.op("Concat", *[mask] * span, axis=1) if span > 1 else mask  # (B, L)
    rows = scope.op("Unsqueeze", span_mask, scope.constant([1, 2]))
    zeros, low = np.zeros((1, heads, plan.beam, 1)), scope.constant(_MASKED, np.float32)
    return scope.op(
        "Where", scope.op("Cast", rows, to=TensorProto.BOOL), scope.constant(zeros, np.float32), low
    )


def _cross_memory(
    scope: GraphBuilder,
    plan: GraphSpec,
    index: int,
    layer: DecoderLayerConfig,
    outputs: Sequence[str],
    score_bias: str,
) -> CrossMemory:
    span, owner = layer.cross_span, f"decoder.layers.{index}.cross_attn"
    source = scope.op("Concat", *outputs[-span:], axis=1) if span > 1 else outputs[-1]  # (B, L, e)
    linear = LinearLayer(
        owner, ("k", "v"), plan.arch.encoder_embed_dim, plan.space.qkv_dim, plan.scheme.encoder
    )
    halves = scope.ops("Split", linear.apply(scope, source), outputs=2, axis=-1, num_outputs=2)
    shape = scope.constant([0, 0, layer.cross_heads, plan.space.qkv_dim // layer.cross_heads])
    keys, values = (
        scope.op("Transpose", scope.op("Reshape", x, shape), perm=[0, 2, 1, 3]) for x in halves
    )
    return CrossMemory(keys, values, score_bias)


def _self_attention(
    stream: ResidualStream, plan: GraphSpec, key: str, heads: int, past: Sequence[str]
) -> tuple[str, str]:
    scope, qkv_dim = stream.scope, plan.space.qkv_dim
    qkv = LinearLayer(f"{key}.self_attn", ("q", "k", "v"), stream.dim, qkv_dim, plan.step_format)
    x = qkv.product(scope, stream.reads)  # (B, K, 3q)
    if plan.beam > 1:
        x = scope.op("Reshape", x, scope.constant([-1, 1, 3 * qkv_dim]))  # (R, 1, 3q)
    parts = scope.ops("Split", x, outputs=3, axis=-1, num_outputs=3)
    tensors = *parts, qkv.bias(scope), "", "", *past
    mixed, keys, values = scope.ops(
        "MultiHeadAttention", *tensors, outputs=3, domain=CONTRIB, num_heads=heads
    )
    if plan.beam > 1:
        mixed = scope.op("Reshape", mixed, scope.constant([-1, plan.beam, qkv_dim]))  # (B, K, q)
    out = LinearLayer(f"{key}.self_attn", ("out",), qkv_dim, stream.dim, plan.step_format)
    stream.add(out.product(scope, mixed), out.bias(scope))
    return keys, values


def _cross_attention(
    stream: ResidualStream, plan: GraphSpec, key: str, heads: int, memory: CrossMemory
) -> None:
    scope, qkv_dim, number_format = stream.scope, plan.space.qkv_dim, plan.step_format
    query = LinearLayer(f"{key}.cross_attn", ("q",), stream.dim, qkv_dim, number_format).apply(
        scope, stream.reads
    )
    tensors = query, memory.keys, memory.values, "", "", memory.score_bias
    mixed = scope.op("MultiHeadAttention", *tensors, domain=CONTRIB, num_heads=heads)  # (B, K, q)
    out = LinearLayer(f"{key}.cross_attn", ("out",), qkv_dim, stream.dim, number_format)
    stream.add(out.product(scope, mixed), out.bias(scope))


# -- parts of both
# -------------------------------------------------------------------------------------------------


def _feed_forward(
    stream: ResidualStream, key: str, ffn_dim: int, number_format: NumberFormat
) -> None:
    scope = stream.scope
    inner = LinearLayer(key, ("fc1",), stream.dim, ffn_dim, number_format).apply(
        scope, stream.reads
    )
    outer = LinearLayer(key, ("fc2",), ffn_dim, stream.dim, number_format)
    stream.add(outer.product(scope, scope.op("Relu", inner)), outer.bias(scope))
