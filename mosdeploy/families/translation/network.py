"""The encoder-decoder of one architecture as a plain network."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.sections import SupernetConfig
from ...spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
)
from ...supernet.elastic import Subnet
from ...supernet.layers import (
    DecoderLayer,
    Embedding,
    EncoderLayer,
    KeyValues,
    StackConfig,
    checkpointed,
    drop,
    initialise_table,
    positions,
    start_near_identity,
)
from .tokenizer import PAD_ID


class Memory(NamedTuple):
    """Outputs of the encoder, which the decoder reads."""

    outputs: tuple[Tensor, ...]
    mask: Tensor | None


class DecoderState(NamedTuple):
    """A decoding under way: how many tokens went in, and each layer's keys and values."""

    position: int
    self_kv: tuple[KeyValues, ...]
    cross_kv: tuple[KeyValues, ...]
    mask: Tensor | None

    def reorder(self, index: Tensor) -> "DecoderState":
        """Pick hypotheses: row i of the new state continues row index[i]; a longer index widens the
        beam.
        """
        return DecoderState(
            self.position,
            tuple(layer.reorder(index) for layer in self.self_kv),
            tuple(layer.reorder(index) for layer in self.cross_kv),
            None if self.mask is None else self.mask.index_select(0, index),
        )


class Encoder(nn.Module):
    """A stack of encoder layers; pre-norm adds a final norm, applied to every output that is
    attended to.
    """

    def __init__(self, config: StackConfig, layers: Sequence[EncoderLayerConfig]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(config, layer.heads, layer.ffn_dim) for layer in layers
        )
        self.norm = config.layer_norm() if config.pre_norm else None

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        num_outputs: int,
        activation_checkpointing: bool = False,
    ) -> tuple[Tensor, ...]:
        """Outputs of the last `num_outputs` layers, the deepest last, each (B, S, D)."""
        outputs = []
        for layer in self.layers:
            x = checkpointed(layer, x, mask) if activation_checkpointing else layer(x, mask)
            outputs.append(x)  # (B, S, D)
        kept = outputs[-num_outputs:]
        return tuple(kept if self.norm is None else (self.norm(y) for y in kept))


class Decoder(nn.Module):
    """A stack of decoder layers; pre-norm adds a final norm."""

    def __init__(
        self, config: StackConfig, memory_dim: int, layers: Sequence[DecoderLayerConfig]
    ) -> None:
        super().__init__()
        self.cross_spans = [layer.cross_span for layer in layers]
        self.layers = nn.ModuleList(
            DecoderLayer(
                config,
                memory_dim,
                self_heads=layer.self_heads,
                cross_heads=layer.cross_heads,
                ffn_dim=layer.ffn_dim,
            )
            for layer in layers
        )
        self.norm = config.layer_norm() if config.pre_norm else None

    def project(self, outputs: Sequence[Tensor]) -> tuple[KeyValues, ...]:
        """Cross-attention keys and values of each layer, from the encoder outputs (deepest last),
        each (B, S, e).
        """
        # once for each span that occurs, not for each layer
        memory_of = {
            n: torch.cat(tuple(outputs[-n:]), dim=1) if n > 1 else outputs[-1]
            for n in set(self.cross_spans)
        }  # (B, n * S, e)
        return tuple(
            layer.cross_attn.project(memory_of[n])
            for layer, n in zip(self._stack, self.cross_spans, strict=True)
        )

    def forward(
        self,
        x: Tensor,
        cross_kv: Sequence[KeyValues],
        mask: Tensor | None,
        past_kv: Sequence[KeyValues],
        activation_checkpointing: bool = False,
    ) -> tuple[Tensor, tuple[KeyValues, ...]]:
        """Run the stack on all positions (`past_kv` empty) or on one more."""
        new_kv = []
        for i, layer in enumerate(self._stack):
            span_mask = None
            if mask is not None:
                span_mask = mask.repeat(1, 1, 1, self.cross_spans[i])  # (B, 1, 1, n * S)
            inputs = (x, cross_kv[i], span_mask, past_kv[i] if past_kv else None)
            run = checkpointed(layer, *inputs) if activation_checkpointing else layer(*inputs)
            x, layer_kv = run
            new_kv.append(layer_kv)
        return (x if self.norm is None else self.norm(x)), tuple(new_kv)

    @property
    def _stack(self) -> Iterable[DecoderLayer]:
        return cast("Iterable[DecoderLayer]", self.layers)


class TranslationSubnet(Subnet):
    """The Transformer of one architecture, freshly initialised."""

    arch: TranslationArch

    def __init__(
        self,
        arch: TranslationArch,
        space: TranslationSpace,
        vocab_size: int,
        config: SupernetConfig | None = None,
    ) -> None:
        super().__init__()
        space.check(arch)
        config = config or SupernetConfig()
        e = arch.encoder_embed_dim
        d = arch.decoder_embed_dim
        source = _stack_config(space, e, max(space.encoder_embed_dim), config)
        target = _stack_config(space, d, max(space.decoder_embed_dim), config)
        self.arch = arch
        self.table_dim = space.max_embed_dim
        self.max_span = max(layer.cross_span for layer in arch.decoder_layers)
        self.source_dropout = source.dropout
        self.target_dropout = target.dropout
        self.embed = Embedding(vocab_size, max(e, d))
        self.encoder = Encoder(source, arch.encoder_layers)
        self.decoder = Decoder(target, e, arch.decoder_layers)
        if not self.embed.weight.is_meta:
            self._initialise()

    def forward(self, src: Tensor, prev: Tensor, activation_checkpointing: bool = False) -> Tensor:
        """Logits (B, T, V) of each next token, from source ids (B, S) and earlier target ids (B,
        T), int64.
        """
        memory = self.encode(src, activation_checkpointing)
        cross_kv = self.decoder.project(memory.outputs)
        x = self._embed_target(prev, 0)  # (B, T, d)
        x, _ = self.decoder(x, cross_kv, memory.mask, (), activation_checkpointing)
        return self._logits(x)

    def encode(self, src: Tensor, activation_checkpointing: bool = False) -> Memory:
        """Run the encoder on source ids (B, S), padded with `PAD_ID`."""
        real = src != PAD_ID  # (B, S)
        mask = None if bool(real.all()) else real[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(src, self.arch.encoder_embed_dim, 0)
        x = drop(x, self.source_dropout, self.training)  # (B, S, e)
        return Memory(self.encoder(x, mask, self.max_span, activation_checkpointing), mask)

    def start(self, memory: Memory) -> DecoderState:
        """Compute what every step reads: the keys and values of the cross-attentions."""
        return DecoderState(0, (), self.decoder.project(memory.outputs), memory.mask)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one more target token (B, 1); give the logits (B, V) of the next and the state
        behind it.
        """
        x = self._embed_target(tokens, state.position)  # (B, 1, d)
        x, self_kv = self.decoder(x, state.cross_kv, state.mask, state.self_kv)
        return self._logits(x[:, 0]), state._replace(position=state.position + 1, self_kv=self_kv)

    def _embed_target(self, ids: Tensor, start: int) -> Tensor:
        x = self._embed(ids, self.arch.decoder_embed_dim, start)
        return drop(x, self.target_dropout, self.training)  # (B, T, d)

    def _embed(self, ids: Tensor, width: int, start: int) -> Tensor:
        x: Tensor = self.embed(ids)[..., :width] * math.sqrt(width)  # (B, L, width)
        return x + positions(start, ids.shape[1], width, self.table_dim, ids.device)

    def _logits(self, x: Tensor) -> Tensor:
        # the output reads the first d columns of the table that source and target share
        table = self.embed.weight[:, : self.arch.decoder_embed_dim]  # (V, d)
        return F.linear(x, table)  # (..., d) -> (..., V)

    def _initialise(self) -> None:
        initialise_table(self.embed.weight, self.table_dim, PAD_ID)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if self.encoder.norm is not None:
            start_near_identity(self.encoder.layers)


def _stack_config(
    space: TranslationSpace, dim: int, max_dim: int, config: SupernetConfig
) -> StackConfig:
    return StackConfig(
        dim=dim,
        qkv_dim=space.qkv_dim,
        activation=space.activation,
        norm_epsilon=space.norm_epsilon,
        pre_norm=space.pre_norm,
        dropout=config.dropout * dim / max_dim,
        attention_dropout=config.attention_dropout,
    )
