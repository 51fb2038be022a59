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
    Step,
    beam_search,
    greedy_search,
    step_limits,
)
from ...export.onnx.embedding import RestrictedLogits, TiedEmbedding
from ...export.quantize import SCHEMES
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
    space, workload = spec.space, spec.workload
    space.check(arch)
    assert isinstance(arch, TranslationArch)
    assert isinstance(space, TranslationSpace)
    assert isinstance(workload, TranslationWorkload)
    longest = max(workload.source_len, workload.decode_steps)
    options = options or TranslationGraphOptions(max_positions=longest)
    shortlist = options.shortlist if isinstance(options, TranslationGraphOptions) else None
    if isinstance(weights, Mapping) and workload.shortlist and shortlist is None:
        raise ExportError(
            f"the workload has a shortlist of {workload.shortlist}, the options hold none; "
            "give those that `graph_options` makes from the training pairs"
        )
    source = InlineInitializers(weights) if isinstance(weights, Mapping) else weights
    builder = GraphBuilder(source, "translate")
    graph = TranslationGraph(arch, space, workload, spec.vocab_size)
    is_real = builder.op("Not", builder.op("Equal", SOURCE_IDS, builder.constant(PAD_ID)))
    mask = builder.op("Cast", is_real, to=TensorProto.INT32)  # (B, S)
    # the frequencies are those of the supernet, whatever the subnet's width
    columns = graph.embedding.num_columns
    positions = position_table(builder, options.max_positions, columns, space.max_embed_dim)
    outputs = graph.encode(builder, mask, positions)
    step = graph.step(builder, outputs, mask, positions)
    decoder = Decoder(
        step,
        graph.next_tokens(builder, shortlist),
        graph.cache_shapes,
        SpecialTokens(PAD_ID, BOS_ID, EOS_ID),
    )
    batch = builder.op("Shape", SOURCE_IDS, start=0, end=1)  # (1,)
    if workload.beam == 1:
        ids = greedy_search(builder, decoder, batch)
    else:
        ids = beam_search(builder, decoder, batch, workload.beam, options.length_penalty)
    # the loop's output is called by a number; this gives it its name
    builder.nodes.append(helper.make_node("Identity", [ids], [OUTPUT_IDS], OUTPUT_IDS))
    source_info = helper.make_tensor_value_info(SOURCE_IDS, TensorProto.INT64, ["B", "S"])
    output_info = helper.make_tensor_value_info(OUTPUT_IDS, TensorProto.INT64, ["B", "T"])
    return make_model(builder, [source_info, *step_limits()], [output_info])


@dataclass(frozen=True)
class TranslationGraph:
    """The parts of one graph, as nodes that each adds to a builder."""

    arch: TranslationArch
    space: TranslationSpace
    workload: TranslationWorkload
    vocab_size: int

    @property
    def embedding(self) -> TiedEmbedding:
        """The table of source, target and logits."""
        scheme = SCHEMES[self.workload.precision]
        return TiedEmbedding(
            vocab_size=self.vocab_size,
            num_columns=max(self.arch.encoder_embed_dim, self.arch.decoder_embed_dim),
            logits_dim=self.arch.decoder_embed_dim,
            number_format=scheme.table,
            int4_logits=scheme.int4_logits,
        )

    @property
    def cache_shapes(self) -> tuple[tuple[int, int], ...]:
        """Heads and width of a head of each decoder layer's self-attention."""
        heads = (layer.self_heads for layer in self.arch.decoder_layers)
        return tuple((count, self.space.qkv_dim // count) for count in heads)

    def _stack(self, dim: int, part: str) -> StackSpec:
        return StackSpec(
            dim=dim,
            qkv_dim=self.space.qkv_dim,
            number_format=SCHEMES[self.workload.precision].format_of(part, self.workload.beam),
            activation=self.space.activation,
            norm_epsilon=self.space.norm_epsilon,
            pre_norm=self.space.pre_norm,
        )

    # -- encoder -----------------------------------------------------------------------------------

    @property
    def _encoder(self) -> StackSpec:
        return self._stack(self.arch.encoder_embed_dim, "encoder")

    def encode(self, builder: GraphBuilder, mask: str, positions: str) -> list[str]:
        """Run the encoder on the source; give the outputs of the layers that the decoder reads."""
        spec = self._encoder
        length = builder.op("Shape", SOURCE_IDS, start=1, end=2)
        corner = builder.op("Concat", length, builder.constant([spec.dim]), axis=0)
        rows = builder.op("Slice", positions, builder.constant([0, 0]), corner)  # (S, e)
        vectors = self.embedding.embed(builder, SOURCE_IDS, spec.dim)
        x = builder.op("Add", vectors, rows)  # (B, S, e)
        keys = [f"encoder.layers.{i}" for i in range(len(self.arch.encoder_layers))]
        norms = [f"{key}.{norm}" for key in keys for norm in ("self_attn_norm", "ffn_norm")]
        stream = ResidualStream(builder, spec, norms, "encoder.norm", x)
        span = max(layer.cross_span for layer in self.arch.decoder_layers)
        outputs = []
        for i, (key, layer) in enumerate(zip(keys, self.arch.encoder_layers, strict=True)):
            self_attention(stream, f"{key}.self_attn", layer.heads, mask)
            feed_forward(stream, key, layer.ffn_dim)
            if i < len(keys) - span:
                continue
            # pre-norm: what stands in `reads` is normed for the next layer, which is not what is
            # attended to; only behind the last layer it is the final norm
            reads_output = i == len(keys) - 1 or not spec.pre_norm
            outputs.append(
                stream.reads if reads_output else stream.norm(stream.total, stream.final_norm)
            )
        return outputs

    # -- decoder -----------------------------------------------------------------------------------

    def step(
        self, builder: GraphBuilder, outputs: Sequence[str], mask: str, positions: str
    ) -> Step:
        """Compute, outside the loop, what every step reads; give what runs the decoder on one more
        token of each hypothesis.
        """
        spec = self._stack(self.arch.decoder_embed_dim, "step")
        layers = self.arch.decoder_layers
        # layers of the same span and heads share a bias; a dict keeps them in order, each once
        kinds = dict.fromkeys((layer.cross_span, layer.cross_heads) for layer in layers)
        biases = {kind: self._score_bias(builder, *kind, mask) for kind in kinds}
        keys = [f"decoder.layers.{i}" for i in range(len(layers))]
        cross_kv = []
        for key, layer in zip(keys, layers, strict=True):
            span, heads = layer.cross_span, layer.cross_heads
            source = builder.op("Concat", *outputs[-span:], axis=1) if span > 1 else outputs[-1]
            # computed once a sentence, so in the number format of the encoder
            found = cross_keys_values(builder, self._encoder, f"{key}.cross_attn", heads, source)
            cross_kv.append(CrossKeyValues(*found, biases[span, heads]))
        if spec.dim < self.embedding.num_columns:
            bounds = (builder.constant([value]) for value in (0, spec.dim, -1))
            positions = builder.op("Slice", positions, *bounds)  # (max_positions, d)
        sublayers = ("self_attn", "cross_attn", "ffn")
        norms = [f"{key}.{sublayer}_norm" for key in keys for sublayer in sublayers]

        def run(
            body: GraphBuilder, tokens: str, position: str, past_kv: Sequence[str]
        ) -> tuple[str, list[str]]:
            vectors = self.embedding.embed(body, tokens, spec.dim)
            x = body.op("Add", vectors, body.op("Gather", positions, position))  # (B, K, d)
            stream = ResidualStream(body, spec, norms, "decoder.norm", x)
            new_kv: list[str] = []
            for i, (key, layer) in enumerate(zip(keys, layers, strict=True)):
                own_kv = past_kv[2 * i : 2 * i + 2]
                owner = f"{key}.self_attn"
                beam = self.workload.beam
                new_kv += cached_self_attention(stream, owner, layer.self_heads, own_kv, beam)
                cross_attention(stream, f"{key}.cross_attn", layer.cross_heads, cross_kv[i])
                feed_forward(stream, key, layer.ffn_dim)
            return body.op("Reshape", stream.reads, body.constant([-1, spec.dim])), new_kv

        return run

    def _score_bias(self, builder: GraphBuilder, span: int, heads: int, mask: str) -> str:
        """Zero at real tokens of the attended outputs, very low at padding: float (B, heads, K,
        L).
        """
        span_mask = builder.op("Concat", *[mask] * span, axis=1) if span > 1 else mask  # (B, L)
        rows = builder.op("Unsqueeze", span_mask, builder.constant([1, 2]))  # (B, 1, 1, L)
        low = builder.constant(MASKED, np.float32)
        # the shape of the zeros widens the result to all heads and hypotheses
        is_real = builder.op("Cast", rows, to=TensorProto.BOOL)
        zeros = builder.constant(np.zeros((1, heads, self.workload.beam, 1)), np.float32)
        return builder.op("Where", is_real, zeros, low)

    def next_tokens(self, builder: GraphBuilder, shortlist: Shortlist | None) -> NextTokens:
        """Choose what scores the next tokens: the whole vocabulary, or what a shortlist allows each
        sentence (B, S). For a workload with one, it is made up if none is given.
        """
        if not self.workload.shortlist:
            return self.embedding
        if shortlist is None:
            listed = self._made_up(builder)
            frequent = builder.constant(
                made_up_frequent(self.vocab_size, self.workload.num_frequent)
            )
        else:
            listed, frequent = _learned(builder, shortlist)
        listed = builder.op("Flatten", listed, axis=1)  # (B, S * k)
        batch = builder.op("Shape", listed, start=0, end=1)
        shape = builder.op("Concat", batch, builder.op("Shape", frequent), axis=0)
        allowed = builder.op("Concat", listed, builder.op("Expand", frequent, shape), axis=1)
        return RestrictedLogits.of(builder, self.embedding, allowed, self.workload.beam)

    def _made_up(self, builder: GraphBuilder) -> str:
        """Compute the lists of `Shortlist.made_up`, (B, S, k), instead of storing them."""
        count = self.workload.shortlist
        first = builder.op("Mul", SOURCE_IDS, builder.constant(count))
        first = builder.op("Unsqueeze", first, builder.constant([2]))  # (B, S, 1)
        ids = builder.op("Add", first, builder.constant(np.arange(count)))
        ids = builder.op("Mul", ids, builder.constant(MULTIPLIER))
        ids = builder.op("Mod", ids, builder.constant(self.vocab_size))
        is_own = builder.constant(np.arange(count) < num_own(count), np.bool_)
        return builder.op("Where", is_own, ids, builder.constant(EOS_ID))


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
