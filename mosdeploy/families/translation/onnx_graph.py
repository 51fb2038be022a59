"""One ONNX graph for a whole translation: token ids in, token ids out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...errors import ExportError
from ...export.onnx.blocks import (
    MASKED,
    CrossKeyValues,
    ResidualStream,
    StackSpec,
    cached_self_attention,
    cross_attention,
    cross_keys_values,
    feed_forward,
    position_table,
    self_attention,
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
from ...export.onnx.decoding import (
    Decoder,
    NextTokens,
    SpecialTokens,
    beam_search,
    greedy_search,
    step_limits,
)
from ...export.onnx.embedding import RestrictedLogits, TiedEmbedding
from ...export.quantize import SCHEMES, PrecisionScheme
from ...spaces.genes import ArchConfig
from ...spaces.spec import ModelSpec
from ...spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload, num_own
from .shortlist import MULTIPLIER, Shortlist, TranslationGraphOptions, made_up_frequent
from .tokenizer import BOS_ID, EOS_ID, PAD_ID

SOURCE_IDS = "source_ids"
OUTPUT_IDS = "output_ids"


def build_graph(
    spec: ModelSpec,
    arch: ArchConfig,
    weights: Mapping[str, Array] | InitializerSource,
    options: GraphOptions | None = None,
) -> ModelProto:
    """Build the graph of one subnet."""
    plan = GraphSpec.of(spec, arch)
    options = options or TranslationGraphOptions(max_positions=plan.longest)
    source = InlineInitializers(weights) if isinstance(weights, Mapping) else weights
    shortlist = options.shortlist if isinstance(options, TranslationGraphOptions) else None
    if isinstance(weights, Mapping) and plan.workload.shortlist and shortlist is None:
        raise ExportError(
            f"the workload has a shortlist of {plan.workload.shortlist}, the options hold none; "
            "give those that `graph_options` makes from the training pairs"
        )
    builder = GraphBuilder(source, "translate")
    is_real = builder.op("Not", builder.op("Equal", SOURCE_IDS, builder.constant(PAD_ID)))
    mask = builder.op("Cast", is_real, to=TensorProto.INT32)  # (B, S)
    positions = plan.positions(builder, options.max_positions)
    outputs = encode(builder, plan, mask, positions)
    memory = prepare_decoder(builder, plan, outputs, mask, positions)
    next_tokens = choose_next_tokens(builder, plan, shortlist)
    ids = _decode(builder, plan, memory, next_tokens, options.length_penalty)
    # the loop's output is called by a number; this gives it its name
    builder.nodes.append(helper.make_node("Identity", [ids], [OUTPUT_IDS], OUTPUT_IDS))
    source_info = helper.make_tensor_value_info(SOURCE_IDS, TensorProto.INT64, ["B", "S"])
    output_info = helper.make_tensor_value_info(OUTPUT_IDS, TensorProto.INT64, ["B", "T"])
    return make_model(builder, [source_info, *step_limits()], [output_info])


@dataclass(frozen=True)
class GraphSpec:
    """The model of one graph."""

    arch: TranslationArch
    space: TranslationSpace
    workload: TranslationWorkload
    vocab_size: int

    @classmethod
    def of(cls, spec: ModelSpec, arch: ArchConfig) -> "GraphSpec":
        """Check that the architecture is in the space (ArchError) and put both together."""
        spec.space.check(arch)
        assert isinstance(arch, TranslationArch)
        assert isinstance(spec.space, TranslationSpace)
        assert isinstance(spec.workload, TranslationWorkload)
        return cls(arch, spec.space, spec.workload, spec.vocab_size)

    @property
    def beam(self) -> int:
        """Hypotheses a sentence."""
        return self.workload.beam

    @property
    def longest(self) -> int:
        """Positions that the workload needs on either side."""
        return max(self.workload.source_len, self.workload.decode_steps)

    @property
    def scheme(self) -> PrecisionScheme:
        """Number formats of the workload's precision."""
        return SCHEMES[self.workload.precision]

    @property
    def encoder(self) -> StackSpec:
        """Settings of all encoder layers."""
        return self._stack(self.arch.encoder_embed_dim, "encoder")

    @property
    def decoder(self) -> StackSpec:
        """Settings of all decoder layers."""
        return self._stack(self.arch.decoder_embed_dim, "step")

    @property
    def embedding(self) -> TiedEmbedding:
        """The table of source, target and logits."""
        return TiedEmbedding(
            vocab_size=self.vocab_size,
            num_columns=max(self.arch.encoder_embed_dim, self.arch.decoder_embed_dim),
            logits_dim=self.arch.decoder_embed_dim,
            number_format=self.scheme.table,
            int4_logits=self.scheme.int4_logits,
        )

    @property
    def cache_shapes(self) -> tuple[tuple[int, int], ...]:
        """Heads and width of a head of each decoder layer's self-attention."""
        heads = (layer.self_heads for layer in self.arch.decoder_layers)
        return tuple((count, self.space.qkv_dim // count) for count in heads)

    def positions(self, builder: GraphBuilder, max_positions: int) -> str:
        """Position table (max_positions, max(e, d))."""
        num_columns = max(self.arch.encoder_embed_dim, self.arch.decoder_embed_dim)
        # the frequencies are those of the supernet, whatever the subnet's width
        dim = self.space.max_embed_dim
        return position_table(builder.root, max_positions, num_columns, dim)

    def _stack(self, dim: int, part: str) -> StackSpec:
        return StackSpec(
            dim=dim,
            qkv_dim=self.space.qkv_dim,
            number_format=self.scheme.format_of(part, self.beam),
            activation=self.space.activation,
            norm_epsilon=self.space.norm_epsilon,
            pre_norm=self.space.pre_norm,
        )


# -- encoder ---------------------------------------------------------------------------------------


def encode(builder: GraphBuilder, plan: GraphSpec, mask: str, positions: str) -> list[str]:
    """Run the encoder on the source."""
    spec = plan.encoder
    length = builder.op("Shape", SOURCE_IDS, start=1, end=2)
    corner = builder.op("Concat", length, builder.constant([spec.dim]), axis=0)
    rows = builder.op("Slice", positions, builder.constant([0, 0]), corner)  # (S, e)
    x = builder.op("Add", plan.embedding.embed(builder, SOURCE_IDS, spec.dim), rows)  # (B, S, e)
    keys = [f"encoder.layers.{i}" for i in range(len(plan.arch.encoder_layers))]
    norms = [f"{key}.{norm}" for key in keys for norm in ("self_attn_norm", "ffn_norm")]
    stream = ResidualStream(builder, spec, norms, "encoder.norm", x)
    span = max(layer.cross_span for layer in plan.arch.decoder_layers)
    outputs = []
    for i, (key, layer) in enumerate(zip(keys, plan.arch.encoder_layers, strict=True)):
        self_attention(stream, f"{key}.self_attn", layer.heads, mask)
        feed_forward(stream, key, layer.ffn_dim)
        if i < len(keys) - span:
            continue
        # pre-norm: what stands in `reads` is normed for the next layer, which is not what is
        # attended to; only behind the last layer it is the final norm
        is_last = i == len(keys) - 1
        reads_output = is_last or not spec.pre_norm
        outputs.append(
            stream.reads if reads_output else stream.norm(stream.total, stream.final_norm)
        )
    return outputs


# -- decoder ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecoderMemory:
    """Inputs of every decode step: keys and values of each layer's cross-attention, position
    rows (max_positions, d).
    """

    cross_kv: tuple[CrossKeyValues, ...]
    positions: str

    def embed(self, builder: GraphBuilder, plan: GraphSpec, tokens: str, position: str) -> str:
        """Tokens int64 (B, K) at one position (int64 scalar) to (B, K, d)."""
        vectors = plan.embedding.embed(builder, tokens, plan.decoder.dim)
        return builder.op("Add", vectors, builder.op("Gather", self.positions, position))


def prepare_decoder(
    builder: GraphBuilder, plan: GraphSpec, outputs: Sequence[str], mask: str, positions: str
) -> DecoderMemory:
    """Compute, outside the loop, what every step reads."""
    layers = plan.arch.decoder_layers
    # layers of the same span and heads share a bias; a dict keeps them in order, each once
    kinds = dict.fromkeys((layer.cross_span, layer.cross_heads) for layer in layers)
    biases = {kind: _score_bias(builder, plan.beam, *kind, mask) for kind in kinds}
    cross_kv = []
    for i, layer in enumerate(layers):
        score_bias = biases[layer.cross_span, layer.cross_heads]
        span = layer.cross_span
        source = builder.op("Concat", *outputs[-span:], axis=1) if span > 1 else outputs[-1]
        # computed once a sentence, so in the number format of the encoder
        owner = f"decoder.layers.{i}.cross_attn"
        keys, values = cross_keys_values(builder, plan.encoder, owner, layer.cross_heads, source)
        cross_kv.append(CrossKeyValues(keys, values, score_bias))
    dim = plan.arch.decoder_embed_dim
    if dim < plan.arch.encoder_embed_dim:
        bounds = (builder.constant([value]) for value in (0, dim, -1))
        positions = builder.op("Slice", positions, *bounds)
    return DecoderMemory(tuple(cross_kv), positions)


def decode_step(
    builder: GraphBuilder, plan: GraphSpec, memory: DecoderMemory, x: str, past_kv: Sequence[str]
) -> tuple[str, list[str]]:
    """Run the decoder on one more token of each hypothesis."""
    spec = plan.decoder
    keys = [f"decoder.layers.{i}" for i in range(len(plan.arch.decoder_layers))]
    sublayers = ("self_attn", "cross_attn", "ffn")
    norms = [f"{key}.{sublayer}_norm" for key in keys for sublayer in sublayers]
    stream = ResidualStream(builder, spec, norms, "decoder.norm", x)
    new_kv: list[str] = []
    for i, (key, layer) in enumerate(zip(keys, plan.arch.decoder_layers, strict=True)):
        self_kv = past_kv[2 * i : 2 * i + 2]
        new_kv += cached_self_attention(
            stream, f"{key}.self_attn", layer.self_heads, self_kv, plan.beam
        )
        cross_attention(stream, f"{key}.cross_attn", layer.cross_heads, memory.cross_kv[i])
        feed_forward(stream, key, layer.ffn_dim)
    return builder.op("Reshape", stream.reads, builder.constant([-1, spec.dim])), new_kv


def _decode(
    builder: GraphBuilder,
    plan: GraphSpec,
    memory: DecoderMemory,
    next_tokens: NextTokens,
    length_penalty: float,
) -> str:
    """Add the decode loop; give the name of the ids, int64 (B, T)."""

    def step(
        body: GraphBuilder, tokens: str, position: str, past_kv: Sequence[str]
    ) -> tuple[str, list[str]]:
        x = memory.embed(body, plan, tokens, position)
        return decode_step(body, plan, memory, x, past_kv)

    special = SpecialTokens(PAD_ID, BOS_ID, EOS_ID)
    decoder = Decoder(step, next_tokens, plan.cache_shapes, special)
    batch = builder.op("Shape", SOURCE_IDS, start=0, end=1)  # (1,)
    if plan.beam == 1:
        return greedy_search(builder, decoder, batch)
    return beam_search(builder, decoder, batch, plan.beam, length_penalty)


def _score_bias(builder: GraphBuilder, beam: int, span: int, heads: int, mask: str) -> str:
    """Zero at real tokens of the attended outputs, very low at padding: float (B, heads, K, L)."""
    span_mask = builder.op("Concat", *[mask] * span, axis=1) if span > 1 else mask  # (B, L)
    rows = builder.op("Unsqueeze", span_mask, builder.constant([1, 2]))  # (B, 1, 1, L)
    low = builder.constant(MASKED, np.float32)
    # the shape of the zeros widens the result to all heads and hypotheses
    is_real = builder.op("Cast", rows, to=TensorProto.BOOL)
    zeros = builder.constant(np.zeros((1, heads, beam, 1)), np.float32)
    return builder.op("Where", is_real, zeros, low)


def choose_next_tokens(
    builder: GraphBuilder, plan: GraphSpec, shortlist: Shortlist | None
) -> NextTokens:
    """Choose what scores the next tokens: the whole vocabulary, or what a shortlist allows each
    sentence (B, S). For a workload with one, it is made up if none is given.
    """
    if not plan.workload.shortlist:
        return plan.embedding
    if shortlist is None:
        listed, frequent = _made_up(builder, plan.vocab_size, plan.workload)
    else:
        listed, frequent = _learned(builder, shortlist)
    listed = builder.op("Flatten", listed, axis=1)  # (B, S * k)
    batch = builder.op("Shape", listed, start=0, end=1)
    shape = builder.op("Concat", batch, builder.op("Shape", frequent), axis=0)
    allowed = builder.op("Concat", listed, builder.op("Expand", frequent, shape), axis=1)
    return RestrictedLogits.of(builder, plan.embedding, allowed, plan.beam)


def _learned(builder: GraphBuilder, shortlist: Shortlist) -> tuple[str, str]:
    """Ids (B, S, k) and (F,)."""
    # two bytes an id where they do: the table travels with the bundle
    dtype = np.uint16 if len(shortlist.table) <= 1 << 16 else np.int32
    specs = [
        TensorSpec("shortlist.table", shortlist.table.shape, dtype),
        TensorSpec("shortlist.frequent", shortlist.frequent.shape, dtype),
    ]
    table, frequent = builder.parameters(specs, lambda _: (shortlist.table, shortlist.frequent))
    return builder.op("Gather", table, SOURCE_IDS), frequent


def _made_up(
    builder: GraphBuilder, vocab_size: int, workload: TranslationWorkload
) -> tuple[str, str]:
    """Compute the lists of `Shortlist.made_up` instead of storing them."""
    columns = np.arange(workload.shortlist)
    first = builder.op("Mul", SOURCE_IDS, builder.constant(workload.shortlist))
    first = builder.op("Unsqueeze", first, builder.constant([2]))  # (B, S, 1)
    ids = builder.op("Add", first, builder.constant(columns))
    ids = builder.op("Mul", ids, builder.constant(MULTIPLIER))
    ids = builder.op("Mod", ids, builder.constant(vocab_size))
    is_own = builder.constant(columns < num_own(workload.shortlist), np.bool_)
    listed = builder.op("Where", is_own, ids, builder.constant(EOS_ID))
    return listed, builder.constant(made_up_frequent(vocab_size, workload.num_frequent))
