"""One ONNX graph for an encoder with its head: token ids in, logits or a vector out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...export.onnx.blocks import (
    ACTIVATION_OPS,
    ResidualStream,
    Segments,
    StackSpec,
    feed_forward,
    first_self_attention,
    packed_first_attention,
    packed_self_attention,
    padded_first_attention,
    padded_self_attention,
    padding_bias,
    quantized_self_attention,
)
from ...export.onnx.builder import (
    Array,
    GraphBuilder,
    GraphOptions,
    InitializerSource,
    InlineInitializers,
    TensorSpec,
    make_model,
)
from ...export.onnx.embedding import TiedEmbedding
from ...export.onnx.linear import LinearLayer
from ...export.quantize import SCHEMES, NumberFormat
from ...runtime.manifest import INDEPENDENT_ROWS
from ...spaces.encoder import VECTOR_HEADS, EncoderArch, EncoderSpace, EncoderWorkload
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
    """Build the graph of one subnet."""
    space, workload = spec.space, spec.workload
    space.check(arch)
    assert isinstance(arch, EncoderArch)
    assert isinstance(space, EncoderSpace)
    assert isinstance(workload, EncoderWorkload)
    graph = EncoderGraph(arch, space, workload, spec.vocab_size)
    source = InlineInitializers(folded(weights)) if isinstance(weights, Mapping) else weights
    builder = GraphBuilder(source, "encode")
    is_real = real_tokens(builder, ATTENTION_MASK)
    is_int8 = graph.number_format == "int8"
    if is_int8:
        output = graph.text_by_text(builder, is_real)
    else:
        of_batch = PaddedTexts if workload.padding == "kept" else PackedTexts
        texts = of_batch(builder, INPUT_IDS, is_real)
        x = graph.embed(texts)
        for sublayer in graph.sublayers:
            x = sublayer(texts, x)
        output = graph.head(texts, x)
    name, shape = graph.output
    # the last node's output is called by a number; this gives it its name
    builder.nodes.append(helper.make_node("Identity", [output], [name], name))
    names = [INPUT_IDS, ATTENTION_MASK, *([TOKEN_TYPE_IDS] if space.num_types else [])]
    inputs = [helper.make_tensor_value_info(x, TensorProto.INT64, AXES) for x in names]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    model = make_model(builder, inputs, outputs)
    if is_int8 and workload.batch > 1:
        helper.set_model_props(model, {INDEPENDENT_ROWS: "1"})
    return model


def folded(weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return the same function without a scale of labels, which the output layer takes in."""
    if "head.scale" not in weights:
        return weights
    center, spread = weights["head.scale"]
    return {name: x for name, x in weights.items() if name != "head.scale"} | {
        "head.out.weight": weights["head.out.weight"] * spread,
        "head.out.bias": weights["head.out.bias"] * spread + center,
    }


# -- the texts of a batch: one in a loop body, all real tokens in one row, or all as they are ------


def real_tokens(builder: GraphBuilder, mask: str) -> str:
    """Where real tokens are, bool (B, S), by the attention mask; everywhere in a text without one,
    so that none is empty.
    """
    most = builder.op("ReduceMax", mask, builder.constant([1]), keepdims=1)  # (B, 1)
    is_empty = builder.op("Equal", most, builder.constant(0))
    return builder.op("Or", builder.op("Greater", mask, builder.constant(0)), is_empty)


def num_texts(builder: GraphBuilder, ids: str) -> str:
    """B, int64 scalar."""
    return builder.op("Squeeze", builder.op("Shape", ids, start=0, end=1))


class OneText:
    """The tokens of the text `number` of a batch."""

    def __init__(self, builder: GraphBuilder, number: str, is_real: str) -> None:
        self.builder = builder
        self._number = number
        self._is_real = is_real

    @cached_property
    def columns(self) -> str:
        """Position of each token in its text, int64 (1, T)."""
        return self.builder.op("NonZero", self._own)

    @cached_property
    def _own(self) -> str:
        return self.builder.op("Gather", self._is_real, self._number)  # (S,)

    def pick(self, ids: str) -> str:
        """Ids (1, T) of the tokens, from those of the batch (B, S)."""
        return self.builder.op("Gather", self.builder.op("Gather", ids, self._number), self.columns)

    def attend(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """Let the tokens of the stream (1, T, d) attend to all."""
        quantized_self_attention(stream, owner, heads)

    def attend_first(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """The same for the first token alone, to which the stream is shortened."""
        first_self_attention(stream, owner, heads)

    def total(self, x: str) -> str:
        """Sum of the tokens (1, T, d), which has the direction of their mean: (1, d)."""
        return self.builder.op("ReduceSum", x, self.builder.constant([1]), keepdims=0)

    def padded(self, x: str) -> str:
        """Tokens (1, T, d) where they stand in the batch, (1, S, d); in between is a real one."""
        return self.builder.op("Gather", x, _token_of_position(self.builder, self._own), axis=1)


class _BatchOfTexts(ABC):
    """All texts of a batch."""

    def __init__(self, builder: GraphBuilder, ids: str, is_real: str) -> None:
        self.builder = builder
        self._ids = ids
        self._is_real = is_real

    @abstractmethod
    def padded(self, x: str) -> str:
        """Hidden states where they stand in the batch, (B, S, d)."""

    def total(self, x: str) -> str:
        """Sum of the tokens of each text, which has the direction of their mean, (B, d)."""
        weights = _as_numbers(self.builder, self._is_real, np.float32)
        axis = self.builder.constant([1])
        row = self.builder.op("Unsqueeze", weights, axis)  # (B, 1, S)
        return self.builder.op("Squeeze", self.builder.op("MatMul", row, self.padded(x)), axis)


class PackedTexts(_BatchOfTexts):
    """The tokens of all texts of a batch, one text behind another."""

    def __init__(self, builder: GraphBuilder, ids: str, is_real: str) -> None:
        super().__init__(builder, ids, is_real)
        self._flat = self._in_a_row(is_real)
        self._positions = builder.op("NonZero", self._flat)  # (1, T)
        ones = _as_numbers(builder, is_real, np.int64)
        lengths = builder.op("ReduceSum", ones, builder.constant([1]), keepdims=0)  # (B,)
        ends = builder.op("CumSum", lengths, builder.constant(0))
        starts = builder.op("Sub", ends, lengths)
        self._segments = Segments(starts, ends, num_texts(builder, ids))

    @cached_property
    def columns(self) -> str:
        """Position of each token in its text, int64 (1, T)."""
        width = self.builder.op("Shape", self._ids, start=1, end=2)
        return self.builder.op("Mod", self._positions, width)

    def pick(self, ids: str) -> str:
        """Ids (1, T) of the tokens, from those of the batch (B, S)."""
        return self.builder.op("Gather", self._in_a_row(ids), self._positions)

    def attend(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """Let the tokens of the stream (1, T, d) attend to all of their text."""
        packed_self_attention(stream, owner, heads, self._segments)

    def attend_first(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """The same for the first token of each text, to which the stream is shortened."""
        packed_first_attention(stream, owner, heads, self._segments)

    def padded(self, x: str) -> str:
        """Tokens (1, T, d) where they stand in the batch, (B, S, d); in between is a real one."""
        tokens = _token_of_position(self.builder, self._flat)  # (B * S,)
        table = self.builder.op("Squeeze", x, self.builder.constant([0]))
        places = self.builder.op("Reshape", tokens, self.builder.op("Shape", self._ids))
        return self.builder.op("Gather", table, places)

    def _in_a_row(self, x: str) -> str:
        return self.builder.op("Reshape", x, self.builder.constant([-1]))


class PaddedTexts(_BatchOfTexts):
    """All positions of a batch, padding too."""

    @cached_property
    def _bias(self) -> str:
        return padding_bias(self.builder, self._is_real)

    @cached_property
    def columns(self) -> str:
        """Position of each column, int64 (1, S)."""
        builder = self.builder
        width = builder.op("Squeeze", builder.op("Shape", self._ids, start=1, end=2))
        row = builder.op("Range", builder.constant(0), width, builder.constant(1))
        return builder.op("Unsqueeze", row, builder.constant([0]))

    def pick(self, ids: str) -> str:
        """Ids (B, S) as they are."""
        return ids

    def attend(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """Let all positions of the stream (B, S, d) attend to the tokens of their text."""
        padded_self_attention(stream, owner, heads, self._bias)

    def attend_first(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """The same for the first token of each text alone; the stream is shortened, (1, B, d)."""
        padded_first_attention(stream, owner, heads, self._bias)

    def padded(self, x: str) -> str:
        """States (B, S, d) as they are."""
        return x


Texts = OneText | PackedTexts | PaddedTexts


def _token_of_position(builder: GraphBuilder, is_real: str) -> str:
    """For each position (N,) the number of its token among the real ones, or of one before it."""
    zero = builder.constant(0)
    count = builder.op("CumSum", _as_numbers(builder, is_real, np.int64), zero)
    return builder.op("Max", builder.op("Sub", count, builder.constant(1)), zero)


def _as_numbers(builder: GraphBuilder, is_real: str, dtype: type[np.generic]) -> str:
    """1 where a token is real, else 0."""
    return builder.op("Where", is_real, builder.constant(1, dtype), builder.constant(0, dtype))


# -- layers and heads ------------------------------------------------------------------------------


Sublayer = Callable[[Texts, str], str]
"""Adds the nodes of an attention or an FFN on the states of some texts; gives the states behind it.
"""


@dataclass(frozen=True)
class EncoderGraph:
    """The parts of one graph, as nodes that each adds to a builder."""

    arch: EncoderArch
    space: EncoderSpace
    workload: EncoderWorkload
    vocab_size: int

    @property
    def table_dim(self) -> int:
        """Columns of the embedding tables."""
        return self.space.table_dim or self.arch.embed_dim

    @property
    def number_format(self) -> NumberFormat:
        """Of all linear layers."""
        return SCHEMES[self.workload.precision].encoder

    @property
    def output(self) -> tuple[str, tuple[str | int, ...]]:
        """Name and shape of the graph's output."""
        if self.space.head in VECTOR_HEADS:
            return VECTOR, (AXES[0], self.arch.embed_dim)
        if self.space.head == "pooled":
            return LOGITS, (AXES[0], self.space.num_outputs)
        return LOGITS, (*AXES, self.space.num_outputs or self.vocab_size)

    @property
    def sublayers(self) -> list[Sublayer]:
        """All of the network, in order."""
        return [
            partial(sublayer, i)
            for i in range(len(self.arch.layers))
            for sublayer in (self._attention, self._feed_forward)
        ]

    def text_by_text(self, builder: GraphBuilder, is_real: str) -> str:
        """Run everything on one text after another; give the output of the graph."""
        sublayers = self.sublayers
        at_once = 1 if self.workload.batch > 1 else len(sublayers)
        count = num_texts(builder, INPUT_IDS)
        states = ""  # the sequence of the states of all texts, each (1, T, d)
        for first in range(0, len(sublayers), at_once):
            is_last = first + at_once >= len(sublayers)

            def compute(
                body: GraphBuilder,
                number: str,
                states: str = states,
                part: Sequence[Sublayer] = sublayers[first : first + at_once],
                is_last: bool = is_last,
            ) -> str:
                text = OneText(body, number, is_real)
                x = body.op("SequenceAt", states, number) if states else self.embed(text)
                for sublayer in part:
                    x = sublayer(text, x)
                return self.head(text, x) if is_last else x

            shape = (1, *self.output[1][1:]) if is_last else (1, None, None)
            states = builder.for_each(f"sublayers.{first}", count, shape, compute)
        return builder.op("ConcatFromSequence", states, axis=0)

    def embed(self, texts: Texts) -> str:
        """Add the vectors of tokens, positions and types, norm and widen the sum: (1, T, d)."""
        builder = texts.builder
        t = self.table_dim
        positions = _stored(builder, "positions.weight", (self.space.max_positions, t))
        terms = [
            self._embedding().embed(builder, texts.pick(INPUT_IDS), t),
            builder.op("Gather", positions, texts.columns),
        ]
        if self.space.num_types:
            types = _stored(builder, "types.weight", (self.space.num_types, t))
            terms.append(builder.op("Gather", types, texts.pick(TOKEN_TYPE_IDS)))
        x = self._norm(builder, "embed_norm", builder.op("Sum", *terms), t)
        if self.space.table_dim is None:
            return x
        return self._linear(builder, "", "embed_project", t, self.arch.embed_dim, x)

    def head(self, texts: Texts, x: str) -> str:
        """Hidden states of the last layer to the output of the graph, or to that of one text."""
        builder = texts.builder
        d = self.arch.embed_dim
        space = self.space
        if space.reads_first:
            x = builder.op("Squeeze", x, builder.constant([0]))  # (B, d)
        if space.head == "pooled":
            pooled = builder.op("Tanh", self._linear(builder, "head", "dense", d, d, x))
            return self._linear(builder, "head", "out", d, space.num_outputs, pooled)
        if space.head in VECTOR_HEADS:
            # scaled to length 1
            vector = x if space.reads_first else texts.total(x)
            return builder.op("LpNormalization", vector, axis=-1, p=2)
        x = texts.padded(x)  # (B, S, d)
        if space.head == "tokens":
            return self._linear(builder, "head", "out", d, space.num_outputs, x)
        return self._masked_lm(builder, x)

    def _attention(self, i: int, texts: Texts, x: str) -> str:
        """Narrow the states (1, T, d) of a bottleneck, and let tokens attend; give (1, T, inner
        width), or of the last layer before a head that reads the first position alone (1, B, inner
        width).
        """
        layer = self.arch.layers[i]
        owner = f"layers.{i}"
        if layer.dim is not None:
            x = self._linear(texts.builder, owner, "narrow", self.arch.embed_dim, layer.dim, x)
        stream = self._stream(texts.builder, i, "self_attn_norm", x)
        is_last = i == len(self.arch.layers) - 1
        attend = texts.attend_first if is_last and self.space.reads_first else texts.attend
        attend(stream, f"{owner}.self_attn", layer.heads)
        return stream.reads

    def _feed_forward(self, i: int, texts: Texts, x: str) -> str:
        """Run the FFN, and widen the states of a bottleneck: the shape is that of `x`, d wide."""
        layer = self.arch.layers[i]
        owner = f"layers.{i}"
        stream = self._stream(texts.builder, i, "ffn_norm", x)
        feed_forward(stream, owner, layer.ffn_dim)
        x = stream.reads
        if layer.dim is None:
            return x
        return self._linear(texts.builder, owner, "widen", layer.dim, self.arch.embed_dim, x)

    def _masked_lm(self, builder: GraphBuilder, x: str) -> str:
        """Logits (B, S, V) of all words at every position (B, S, d), by the embedding table."""
        t = self.table_dim
        op_type, domain = ACTIVATION_OPS[self.space.activation]
        dense = self._linear(builder, "head", "dense", self.arch.embed_dim, t, x)
        x = self._norm(builder, "head.norm", builder.op(op_type, dense, domain=domain), t)
        rows = builder.op("Reshape", x, builder.constant([-1, t]))  # (B * S, t)
        bias = _stored(builder, "head.bias", (self.vocab_size,))
        logits = builder.op("Add", self._embedding().logits(builder, rows), bias)
        tail = builder.constant([self.vocab_size])
        shape = builder.op("Concat", builder.op("Shape", x, start=0, end=2), tail, axis=0)
        return builder.op("Reshape", logits, shape)

    def _embedding(self) -> TiedEmbedding:
        """The table of input ids, and of the logits of masked tokens."""
        t = self.table_dim
        table_format = SCHEMES[self.workload.precision].table
        return TiedEmbedding(self.vocab_size, t, t, table_format, scaled=False)

    def _stack(self, dim: int, qkv_dim: int = 0) -> StackSpec:
        activation, epsilon = self.space.activation, self.space.norm_epsilon
        return StackSpec(dim, qkv_dim, self.number_format, activation, epsilon, pre_norm=False)

    def _stream(self, builder: GraphBuilder, i: int, norm: str, x: str) -> ResidualStream:
        """The residual stream of one sublayer of a layer, with the norm behind it."""
        layer = self.arch.layers[i]
        dim = layer.dim or self.arch.embed_dim
        stack = self._stack(dim, self.space.attention_dim(dim, layer.heads))
        return ResidualStream(builder, stack, [f"layers.{i}.{norm}"], "", x)

    def _linear(
        self,
        builder: GraphBuilder,
        owner: str,
        name: str,
        num_inputs: int,
        num_outputs: int,
        x: str,
    ) -> str:
        layer = LinearLayer(owner, (name,), num_inputs, num_outputs, self.number_format)
        return layer.apply(builder, x)

    def _norm(self, builder: GraphBuilder, name: str, x: str, dim: int) -> str:
        return ResidualStream(builder, self._stack(dim), [], "", x).norm(x, name)


def _stored(builder: GraphBuilder, key: str, shape: tuple[int, ...]) -> str:
    return builder.parameters([TensorSpec(key, shape)], lambda get: (get(key, shape),))[0]
