"""One ONNX graph for an encoder with its head: token ids in, logits or a vector out.

In: an architecture of an encoder space, trained weights or none, a workload. Out: a `ModelProto`.
This file writes no file and knows no bundle.

Graph inputs, int64 (batch_size, sequence_length): `input_ids`, padded on the right with any id;
`attention_mask`, 1 at real tokens and 0 at padding; `token_type_ids` where the space has types.
Output: `logits` float (batch_size, C) of a pooled head, (batch_size, sequence_length, C) of a head
on tokens or words; `vector` float (batch_size, d), of length 1, of the heads that give vectors.

Shapes: B texts, S positions, d hidden width, t table width, q heads * head width, C outputs of the
head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from ...export.onnx.blocks import (
    ACTIVATION_OPS,
    ResidualStream,
    StackSpec,
    feed_forward,
    first_self_attention,
    quantized_self_attention,
    self_attention,
)
from ...export.onnx.builder import GraphBuilder
from ...export.onnx.embedding import TiedEmbedding
from ...export.onnx.initializers import Array, InitializerSource, InlineInitializers, TensorSpec
from ...export.onnx.linear import LinearLayer
from ...export.onnx.model import GraphOptions, make_model
from ...export.quantize import SCHEMES, NumberFormat, PrecisionScheme
from ...spaces.encoder import EncoderSpace
from ...spaces.encoder_choices import VECTOR_HEADS, EncoderArch
from ...spaces.encoder_workload import EncoderWorkload
from ...spaces.genes import ArchConfig
from ...spaces.spec import ModelSpec

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
TOKEN_TYPE_IDS = "token_type_ids"
LOGITS = "logits"
VECTOR = "vector"
AXES = ("batch_size", "sequence_length")


def build_graph(
    spec: ModelSpec,
    arch: ArchConfig,
    weights: Mapping[str, Array] | InitializerSource,
    options: GraphOptions | None = None,
) -> ModelProto:
    """Build the graph of one subnet.

    Parameters
    ----------
    spec
        An encoder; the precision is that of its workload.
    weights
        The subnet's `state_dict()` as float32 arrays (`state_arrays`), or `ExternalInitializers`
        for a graph without them.
    options
        Not read: a graph serves all positions of its table.

    Raises
    ------
    ArchError
        If the architecture is not in the space.
    ExportError
        If a weight is missing, of another shape, or not finite.

    Examples
    --------
    >>> from mosdeploy.config import load_recipe
    >>> from mosdeploy.export.onnx.initializers import ExternalInitializers
    >>> spec = load_recipe("minilm-l6").spec
    >>> model = build_graph(spec, spec.space.smallest, ExternalInitializers())
    >>> [value.name for value in model.graph.output]
    ['logits']
    """
    plan = GraphSpec.of(spec, arch)
    source = InlineInitializers(weights) if isinstance(weights, Mapping) else weights
    builder = GraphBuilder(source, "encode")
    x = encode(builder, plan)
    name, shape = plan.output
    # the last node's output is called by a number; this gives it its name
    builder.nodes.append(helper.make_node("Identity", [_head(builder, plan, x)], [name], name))
    inputs = [_value(key, TensorProto.INT64, AXES) for key in plan.inputs]
    return make_model(builder, inputs, [_value(name, TensorProto.FLOAT, shape)])


@dataclass(frozen=True)
class GraphSpec:
    """What the nodes of one graph depend on."""

    arch: EncoderArch
    space: EncoderSpace
    workload: EncoderWorkload
    vocab_size: int

    @classmethod
    def of(cls, spec: ModelSpec, arch: ArchConfig) -> "GraphSpec":
        """Check that the architecture is in the space (ArchError) and put both together."""
        spec.space.check(arch)
        assert isinstance(arch, EncoderArch)
        assert isinstance(spec.space, EncoderSpace)
        assert isinstance(spec.workload, EncoderWorkload)
        return cls(arch, spec.space, spec.workload, spec.vocab_size)

    @property
    def table_dim(self) -> int:
        """Columns of the embedding tables."""
        return self.space.table_dim or self.arch.embed_dim

    @property
    def scheme(self) -> PrecisionScheme:
        """Number formats of the workload's precision."""
        return SCHEMES[self.workload.precision]

    @property
    def number_format(self) -> NumberFormat:
        """Of all linear layers."""
        return self.scheme.encoder

    @property
    def stack(self) -> StackSpec:
        """What all layers have in common but the width of their attention."""
        return StackSpec(
            dim=self.arch.embed_dim,
            qkv_dim=0,
            number_format=self.number_format,
            activation=self.space.activation,
            norm_epsilon=self.space.norm_epsilon,
            pre_norm=False,
        )

    @property
    def embedding(self) -> TiedEmbedding:
        """The table of input ids, and of the logits of masked tokens."""
        return TiedEmbedding(
            vocab_size=self.vocab_size,
            num_columns=self.table_dim,
            logits_dim=self.table_dim,
            number_format=self.scheme.table,
            scaled=False,
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        types = (TOKEN_TYPE_IDS,) if self.space.num_types else ()
        return (INPUT_IDS, ATTENTION_MASK, *types)

    @property
    def output(self) -> tuple[str, tuple[str | int, ...]]:
        """Name and shape of the graph's output."""
        if self.space.head in VECTOR_HEADS:
            return VECTOR, (AXES[0], self.arch.embed_dim)
        if self.space.head == "pooled":
            return LOGITS, (AXES[0], self.space.num_outputs)
        return LOGITS, (*AXES, self.space.num_outputs or self.vocab_size)

    def linear(self, owner: str, name: str, num_inputs: int, num_outputs: int) -> LinearLayer:
        """One linear layer of the state dict."""
        return LinearLayer(owner, (name,), num_inputs, num_outputs, self.number_format)


# -- layers ----------------------------------------------------------------------------------------


def encode(builder: GraphBuilder, plan: GraphSpec) -> str:
    """Run all layers on the inputs; give the last hidden states, float (B, S, d), or (B, 1, d) for
    a head that reads the first position alone.
    """
    mask = builder.op("Cast", ATTENTION_MASK, to=TensorProto.INT32)  # (B, S)
    quantized = plan.number_format == "int8"
    attend = quantized_self_attention if quantized else self_attention
    x = _embed(builder, plan)
    d = plan.arch.embed_dim
    for i, layer in enumerate(plan.arch.layers):
        key = f"layers.{i}"
        inner = layer.dim or d
        own = replace(plan.stack, dim=inner, qkv_dim=plan.space.attention_dim(inner, layer.heads))
        if layer.dim is not None:
            x = plan.linear(key, "narrow", d, inner).apply(builder, x)
        norms = [f"{key}.self_attn_norm", f"{key}.ffn_norm"]
        stream = ResidualStream(builder, own, norms, "", x)
        if i == len(plan.arch.layers) - 1 and plan.space.reads_first:
            attend = first_self_attention
        attend(stream, f"{key}.self_attn", layer.heads, mask)
        feed_forward(stream, key, layer.ffn_dim)
        x = stream.reads
        if layer.dim is not None:
            x = plan.linear(key, "widen", inner, d).apply(builder, x)
    return x


def _embed(builder: GraphBuilder, plan: GraphSpec) -> str:
    """Add the vectors of tokens, positions and types, norm the sum, widen it: float (B, S, d).

    Padded positions get what stands at the first one. So do the states there of all layers, and the
    scale of activations that are quantised on the fly is that of real tokens alone.
    """
    t = plan.table_dim
    d = plan.arch.embed_dim
    is_real = builder.op("Cast", ATTENTION_MASK, to=TensorProto.BOOL)
    length = builder.op("Squeeze", builder.op("Shape", INPUT_IDS, start=1, end=2))
    count = builder.op("Range", builder.constant(0), length, builder.constant(1))  # (S,)
    rows = builder.op("Mul", count, ATTENTION_MASK)  # (B, S)
    positions = _table(builder, "positions.weight", plan.space.max_positions, t)
    terms = [
        plan.embedding.embed(builder, _or_first(builder, is_real, INPUT_IDS), t),
        builder.op("Gather", positions, rows),
    ]
    if plan.space.num_types:
        types = _table(builder, "types.weight", plan.space.num_types, t)
        terms.append(builder.op("Gather", types, _or_first(builder, is_real, TOKEN_TYPE_IDS)))
    x = _norm(builder, plan, "embed_norm", builder.op("Sum", *terms), t)
    if plan.space.table_dim is None:
        return x
    return plan.linear("", "embed_project", t, d).apply(builder, x)


def _or_first(builder: GraphBuilder, is_real: str, ids: str) -> str:
    """Ids (B, S) with those of padding replaced by the first of the row."""
    first = builder.op("Slice", ids, *(builder.constant([value]) for value in (0, 1, 1)))
    return builder.op("Where", is_real, ids, first)


# -- heads -----------------------------------------------------------------------------------------


def _head(builder: GraphBuilder, plan: GraphSpec, x: str) -> str:
    """Hidden states as `encode` gives them to the output of the graph."""
    d = plan.arch.embed_dim
    num_outputs = plan.space.num_outputs
    if plan.space.reads_first:
        x = builder.op("Squeeze", x, builder.constant([1]))  # (B, d)
    if plan.space.head == "pooled":
        dense = plan.linear("head", "dense", d, d).apply(builder, x)
        pooled = builder.op("Tanh", dense)
        return plan.linear("head", "out", d, num_outputs).apply(builder, pooled)
    if plan.space.head == "tokens":
        return plan.linear("head", "out", d, num_outputs).apply(builder, x)
    if plan.space.head in VECTOR_HEADS:
        # scaled to length 1
        vector = x if plan.space.reads_first else _sum_vector(builder, x)
        return builder.op("LpNormalization", vector, axis=-1, p=2)
    return _masked_lm(builder, plan, x)


def _sum_vector(builder: GraphBuilder, x: str) -> str:
    """Sum of the real tokens, which has the direction of their mean: (B, d)."""
    is_real = builder.op("Cast", ATTENTION_MASK, to=TensorProto.FLOAT)
    weights = builder.op("Unsqueeze", is_real, builder.constant([1]))  # (B, 1, S)
    return builder.op("Squeeze", builder.op("MatMul", weights, x), builder.constant([1]))


def _masked_lm(builder: GraphBuilder, plan: GraphSpec, x: str) -> str:
    """Logits (B, S, V) of all words at every position, by the embedding table."""
    d = plan.arch.embed_dim
    t = plan.table_dim
    op_type, domain = ACTIVATION_OPS[plan.space.activation]
    dense = plan.linear("head", "dense", d, t).apply(builder, x)
    x = _norm(builder, plan, "head.norm", builder.op(op_type, dense, domain=domain), t)
    rows = builder.op("Reshape", x, builder.constant([-1, t]))  # (B * S, t)
    bias = _vector(builder, "head.bias", plan.vocab_size)
    logits = builder.op("Add", plan.embedding.logits(builder, rows), bias)
    tail = builder.constant([plan.vocab_size])
    shape = builder.op("Concat", builder.op("Shape", INPUT_IDS), tail, axis=0)
    return builder.op("Reshape", logits, shape)


# -- weights that are no matrix of a layer ---------------------------------------------------------


def _norm(builder: GraphBuilder, plan: GraphSpec, name: str, x: str, dim: int) -> str:
    stream = ResidualStream(builder, replace(plan.stack, dim=dim), [], "", x)
    return stream.norm(x, name)


def _table(builder: GraphBuilder, key: str, num_rows: int, num_columns: int) -> str:
    return _stored(builder, key, (num_rows, num_columns))


def _vector(builder: GraphBuilder, key: str, length: int) -> str:
    return _stored(builder, key, (length,))


def _stored(builder: GraphBuilder, key: str, shape: tuple[int, ...]) -> str:
    return builder.parameters([TensorSpec(key, shape)], lambda get: (get(key, shape),))[0]


def _value(name: str, onnx_type: int, shape: tuple[str | int, ...]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_type, shape)
