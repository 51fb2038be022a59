"""Translation: its architectures, search spaces and workloads, and their costs."""

import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..record import Record
from .genes import ArchConfig, Choices, Depths, Gene, Width
from .spec import (
    CostedSpace,
    FloatArray,
    Inventory,
    Precision,
    Product,
    StageInput,
    TimingStage,
    Workload,
    attention_activations,
    ffn_activations,
)


class EncoderLayerConfig(Record):
    """One encoder layer: FFN width and number of self-attention heads."""

    ffn_dim: int = Field(gt=0)
    heads: int = Field(gt=0)


class DecoderLayerConfig(Record):
    """One decoder layer."""

    ffn_dim: int = Field(gt=0)
    self_heads: int = Field(gt=0)
    cross_heads: int = Field(gt=0)
    cross_span: int = Field(gt=0)


class TranslationArch(ArchConfig):
    """One encoder-decoder Transformer of a search space; holds only the layers that exist."""

    encoder_embed_dim: int = Field(gt=0)
    decoder_embed_dim: int = Field(gt=0)
    encoder_layers: tuple[EncoderLayerConfig, ...] = Field(min_length=1)
    decoder_layers: tuple[DecoderLayerConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _spans_exist(self) -> Self:
        for layer in self.decoder_layers:
            if layer.cross_span > len(self.encoder_layers):
                raise ValueError(
                    f"cross_span {layer.cross_span} reaches past the "
                    f"{len(self.encoder_layers)} encoder layers"
                )
        return self

    def __str__(self) -> str:
        encoder = " ".join(f"{x.ffn_dim}/{x.heads}h" for x in self.encoder_layers)
        decoder = " ".join(
            f"{x.ffn_dim}/{x.self_heads}+{x.cross_heads}h/{x.cross_span}"
            for x in self.decoder_layers
        )
        return f"enc {self.encoder_embed_dim} [{encoder}] dec {self.decoder_embed_dim} [{decoder}]"


MAX_SHORTLIST = 1000
"""Target tokens listed for each source token, at most."""


class TranslationWorkload(Workload):
    """One sentence, so many tokens in, so many steps out."""

    precisions: ClassVar[tuple[Precision, ...]] = (
        "fp32",
        "fp32-int4-logits",
        "int8",
        "int8-int4-logits",
        "int4",
    )

    source_len: int = Field(30, ge=1, le=4096)
    decode_steps: int = Field(30, ge=1, le=4096)
    beam: int = Field(1, ge=1, le=64)
    shortlist: int = Field(0, ge=0, le=MAX_SHORTLIST, exclude_if=lambda count: count == 0)

    @property
    def one_example(self) -> Self:
        return self.model_copy(update={"beam": 1, "shortlist": 0})

    @property
    def is_exact(self) -> bool:
        """Whether every token is scored, in float."""
        return super().is_exact and not self.shortlist

    @property
    def answer_passes(self) -> int:
        """Twice a step of decoding: 28 to 33 passes for 16 steps on an Intel Xeon."""
        return 2 * self.decode_steps

    @property
    def label(self) -> str:
        """Part of a bundle's name that tells it from other workloads."""
        return f"-beam{self.beam}" + (f"-shortlist{self.shortlist}" if self.shortlist else "")

    @property
    def num_frequent(self) -> int:
        """Tokens of a shortlist that every sentence may use: enough to continue a beam."""
        return 2 * max(self.shortlist, self.beam)

    def num_scored(self, vocab_size: int) -> int:
        """Target tokens that a step scores, with a shortlist about."""
        if not self.shortlist:
            return vocab_size
        return min(vocab_size, self.num_frequent + self.source_len * num_own(self.shortlist))


def num_own(shortlist: int) -> int:
    """Return how many target tokens of a source token's list no other token of the sentence
    lists.
    """
    return -(-shortlist // 2)


FEATURE_NAMES = (
    "constant",
    "decoder_layers",
    "encoder_layers",
    "encoder_projection_macs",
    "encoder_ffn_macs",
    "decoder_projection_macs",
    "decoder_ffn_macs",
    "logits_macs",
    "cross_score_macs",
    "cross_memory_macs",
    "encoder_ffn_width",
    "decoder_ffn_width",
    "encoder_heads",
    "decoder_self_heads",
    "decoder_cross_heads",
)


FIRST_TOKEN = 4
"""Ids below are special: padding, unknown, begin, end."""


class TranslationSpace(CostedSpace):
    """All encoder-decoders that one supernet holds.

    Attributes
    ----------
    activation, norm_epsilon
        Of every FFN, and of every LayerNorm of the family's networks.
    """

    table: ClassVar[tuple[Gene, ...]] = (
        Gene("encoder_embed_dim"),
        Gene("decoder_embed_dim"),
        Gene("encoder_layers", stack="encoder_layers"),
        Gene("decoder_layers", stack="decoder_layers"),
        Gene("encoder_ffn_dim", stack="encoder_layers", field="ffn_dim"),
        Gene("encoder_heads", stack="encoder_layers", field="heads"),
        Gene("decoder_ffn_dim", stack="decoder_layers", field="ffn_dim"),
        Gene("decoder_self_heads", stack="decoder_layers", field="self_heads"),
        Gene("decoder_cross_heads", stack="decoder_layers", field="cross_heads"),
        Gene("cross_span", stack="decoder_layers", field="cross_span", at_most="encoder_layers"),
    )
    arch_type: ClassVar[type[ArchConfig]] = TranslationArch
    layer_types: ClassVar[dict[str, type[Record]]] = {
        "encoder_layers": EncoderLayerConfig,
        "decoder_layers": DecoderLayerConfig,
    }
    # HAT's ten averages, in the order of its published latency data
    mean_order: ClassVar[tuple[str, ...]] = (
        "encoder_embed_dim",
        "encoder_layers",
        "encoder_ffn_dim",
        "encoder_heads",
        "decoder_embed_dim",
        "decoder_layers",
        "decoder_ffn_dim",
        "decoder_self_heads",
        "decoder_cross_heads",
        "cross_span",
    )
    feature_names: ClassVar[tuple[str, ...]] = FEATURE_NAMES
    num_core_features: ClassVar[int] = 9
    overhead_features: ClassVar[tuple[str, ...]] = ("constant", "decoder_layers")
    activation: ClassVar[Literal["relu"]] = "relu"
    norm_epsilon: ClassVar[float] = 1e-5

    encoder_embed_dim: Choices
    decoder_embed_dim: Choices
    encoder_layers: Depths
    decoder_layers: Depths
    encoder_ffn_dim: Choices
    decoder_ffn_dim: Choices
    encoder_heads: Choices
    decoder_self_heads: Choices
    decoder_cross_heads: Choices
    cross_span: Choices = (1,)
    qkv_dim: Width
    norm: Literal["pre", "post"] = "post"

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        for name in ("encoder_heads", "decoder_self_heads", "decoder_cross_heads"):
            for heads in getattr(self, name):
                if self.qkv_dim % heads:
                    fitting = [n for n in range(1, 17) if self.qkv_dim % n == 0]
                    raise ValueError(
                        f"{name}: {heads} heads do not divide qkv_dim {self.qkv_dim}; choose "
                        f"among {', '.join(map(str, fitting))}"
                    )
        if max(self.cross_span) > max(self.encoder_layers):
            raise ValueError(
                f"cross_span {max(self.cross_span)} exceeds the {max(self.encoder_layers)} "
                "encoder layers"
            )
        return self

    @property
    def pre_norm(self) -> bool:
        """Whether norms stand before the sublayers."""
        return self.norm == "pre"

    @property
    def max_embed_dim(self) -> int:
        """Largest embed width of either side: columns of the supernet's embedding table and of the
        position table.
        """
        return max(*self.encoder_embed_dim, *self.decoder_embed_dim)

    def starters(self) -> Sequence[ArchConfig]:
        """Transformers as papers have them: one width, one FFN and the most heads everywhere, a
        cross span of 1.
        """
        common = {
            "encoder_heads": max(self.encoder_heads),
            "decoder_self_heads": max(self.decoder_self_heads),
            "decoder_cross_heads": max(self.decoder_cross_heads),
            "cross_span": min(self.cross_span),
        }
        widths = sorted({*self.encoder_embed_dim} & {*self.decoder_embed_dim})
        ffn_dims = sorted({*self.encoder_ffn_dim} & {*self.decoder_ffn_dim})
        depths = itertools.product(self.encoder_layers, self.decoder_layers)
        return [
            self.repeated(
                common
                | dict.fromkeys(("encoder_embed_dim", "decoder_embed_dim"), width)
                | dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), ffn_dim)
                | {"encoder_layers": num_encoder, "decoder_layers": num_decoder}
            )
            for width, ffn_dim, (num_encoder, num_decoder) in itertools.product(
                widths, ffn_dims, depths
            )
        ]

    # -- costs

    def inventory(self, arch: ArchConfig, vocab_size: int, workload: Workload) -> Inventory:
        """Inventory of an architecture in one translation with a key/value cache."""
        # the engine hands over what it does not know; these tell the type checker which it is
        assert isinstance(arch, TranslationArch)
        assert isinstance(workload, TranslationWorkload)
        e = arch.encoder_embed_dim
        d = arch.decoder_embed_dim
        products: list[Product] = []
        for i, encoder_layer in enumerate(arch.encoder_layers):
            products += self._encoder_products(
                f"encoder.layers.{i}", e, encoder_layer, workload.source_len
            )
        for i, decoder_layer in enumerate(arch.decoder_layers):
            products += self._decoder_products(f"decoder.layers.{i}", arch, decoder_layer, workload)
        num_rows = workload.beam * workload.decode_steps
        num_scored = workload.num_scored(vocab_size)
        products.append(Product("logits", "step", num_rows, d, num_scored, "shared"))
        norms = [e] * (2 * len(arch.encoder_layers)) + [d] * (3 * len(arch.decoder_layers))
        norms += [e, d] if self.pre_norm else []
        # the logits read the first d columns of the one table; a wider encoder has the rest beside
        # them
        table_parts = (d, e - d) if e > d else (d,)
        num_ids = vocab_size * workload.shortlist
        id_bytes = num_ids * (2 if vocab_size <= 1 << 16 else 4)
        return Inventory(
            products=tuple(products),
            norm_widths=tuple(norms),
            table_parts=table_parts,
            vocab_size=vocab_size,
            id_bytes=id_bytes,
            num_activations=self._num_activations(arch, num_scored, workload),
        )

    def _num_activations(
        self, arch: TranslationArch, num_scored: int, workload: TranslationWorkload
    ) -> int:
        """Most numbers that are held at one time: in the encoder, those of a sublayer beside the
        outputs that are kept for the cross-attention; or in the last decode step.
        """
        source = workload.source_len
        e = arch.encoder_embed_dim
        spans = [layer.cross_span for layer in arch.decoder_layers]
        kept = (max(spans) - 1) * source * e
        states = attention_activations(source, source, e, self.qkv_dim)
        held = []
        for layer in arch.encoder_layers:
            held.append(kept + states + source * layer.heads * source)
            held.append(kept + ffn_activations(source, e, layer.ffn_dim))
        cross_kv = 2 * self.qkv_dim * source * sum(spans)
        held.append(max(spans) * source * e + cross_kv)
        # keys and values of the step before, and of this one
        self_kv = 2 * self.qkv_dim * workload.beam * workload.decode_steps
        held.append(
            cross_kv
            + 2 * len(arch.decoder_layers) * self_kv
            + max(self._step_activations(arch, num_scored, workload))
        )
        return max(held)

    def _step_activations(
        self, arch: TranslationArch, num_scored: int, workload: TranslationWorkload
    ) -> Iterator[int]:
        """Numbers that each part of the last decode step holds beside keys and values."""
        rows = workload.beam
        d = arch.decoder_embed_dim
        states = attention_activations(rows, rows, d, self.qkv_dim)
        for layer in arch.decoder_layers:
            yield states + rows * layer.self_heads * workload.decode_steps
            yield states + rows * layer.cross_heads * layer.cross_span * workload.source_len
            yield ffn_activations(rows, d, layer.ffn_dim)
        # logits, and their logarithms of probabilities
        yield rows * (d + 2 * num_scored)

    def _encoder_products(
        self, name: str, e: int, layer: EncoderLayerConfig, num_positions: int
    ) -> list[Product]:
        s = num_positions
        q = self.qkv_dim
        return [
            Product(f"{name}.self_attn.qkv", "encoder", s, e, 3 * q),
            Product(f"{name}.self_attn.scores", "encoder", s, q, s, "activation"),
            Product(f"{name}.self_attn.values", "encoder", s, s, q, "activation"),
            Product(f"{name}.self_attn.out", "encoder", s, q, e),
            Product(f"{name}.fc1", "encoder", s, e, layer.ffn_dim),
            Product(f"{name}.fc2", "encoder", s, layer.ffn_dim, e),
        ]

    def _decoder_products(
        self,
        name: str,
        arch: TranslationArch,
        layer: DecoderLayerConfig,
        workload: TranslationWorkload,
    ) -> list[Product]:
        d = arch.decoder_embed_dim
        q = self.qkv_dim
        memory_len = layer.cross_span * workload.source_len
        steps = workload.decode_steps
        rows = workload.beam * steps
        # step t attends to t positions: 1 + 2 + ... + T
        num_attended = steps * (steps + 1) // 2
        return [
            Product(f"{name}.cross_attn.kv", "encoder", memory_len, arch.encoder_embed_dim, 2 * q),
            Product(f"{name}.self_attn.qkv", "step", rows, d, 3 * q),
            Product(
                f"{name}.self_attn.scores", "step", workload.beam, q, num_attended, "activation"
            ),
            Product(
                f"{name}.self_attn.values", "step", workload.beam, num_attended, q, "activation"
            ),
            Product(f"{name}.self_attn.out", "step", rows, q, d),
            Product(f"{name}.cross_attn.q", "step", rows, d, q),
            Product(f"{name}.cross_attn.scores", "step", rows, q, memory_len, "activation"),
            Product(f"{name}.cross_attn.values", "step", rows, memory_len, q, "activation"),
            Product(f"{name}.cross_attn.out", "step", rows, q, d),
            Product(f"{name}.fc1", "step", rows, d, layer.ffn_dim),
            Product(f"{name}.fc2", "step", rows, layer.ffn_dim, d),
        ]

    # -- latency

    def latency_features(self, sums: FloatArray, vocab_size: int, workload: Workload) -> FloatArray:
        """Latency features of one translation, (N, 15), from sums over layers (N, 10), in units of
        10^6 multiply-accumulates, 10^3 elements, layers or heads.
        """
        assert isinstance(workload, TranslationWorkload)
        e, layers_e, ffn_e, heads_e, d, layers_d, ffn_d, heads_self, heads_cross, span = sums.T
        q = self.qkv_dim
        source = workload.source_len
        rows = workload.beam * workload.decode_steps
        features = np.empty((len(sums), len(FEATURE_NAMES)))
        features[:, 0] = 1.0
        features[:, 1] = layers_d
        features[:, 2] = layers_e
        features[:, 3] = (4e-6 * source * q) * e * layers_e
        features[:, 4] = (2e-6 * source) * e * ffn_e
        features[:, 5] = (6e-6 * rows * q) * d * layers_d
        features[:, 6] = (2e-6 * rows) * d * ffn_d
        features[:, 7] = (1e-6 * rows * workload.num_scored(vocab_size)) * d
        features[:, 8] = (2e-6 * rows * source * q) * span
        features[:, 9] = (2e-6 * source * q) * e * span
        features[:, 10] = (1e-3 * source) * ffn_e
        features[:, 11] = (1e-3 * rows) * ffn_d
        features[:, 12] = heads_e
        features[:, 13] = heads_self
        features[:, 14] = heads_cross
        return features

    def timing_stages(self, vocab_size: int, workload: Workload) -> tuple[TimingStage, ...]:
        """The whole translation; the encoder with the cross-attention's keys and values; the rest,
        the decode steps.
        """
        assert isinstance(workload, TranslationWorkload)
        source = StageInput(
            name="source_ids", shape=(1, workload.source_len), low=FIRST_TOKEN, high=vocab_size
        )

        def steps(count: int) -> tuple[StageInput, ...]:
            limits = (
                StageInput(name=name, shape=(), value=count) for name in ("max_steps", "min_steps")
            )
            return (source, *limits)

        return (
            TimingStage(name="total", inputs=steps(workload.decode_steps)),
            TimingStage(name="encoder", inputs=steps(0)),
            TimingStage(name="decoder", minus="encoder"),
        )
