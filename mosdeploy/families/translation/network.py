"""One architecture as a plain network, and the way out of a supernet.

In: an architecture, or a supernet and an architecture. Out: a `Subnet` that holds ordinary dense
weights under the names that the exporter reads. This file trains nothing and knows no expert.

Shapes: B batch, S source length, T target length, V vocabulary, e and d embed widths of encoder and
decoder.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.sections import SupernetConfig
from ...spaces.translation import TranslationArch, TranslationSpace
from ...supernet.attention import KeyValues
from ...supernet.layers import Decoder, Encoder, StackConfig, positions

if TYPE_CHECKING:
    from ...supernet.supernet import Supernet


class Memory(NamedTuple):
    """What the encoder leaves for the decoder.

    `outputs`: of the last encoder layers, as many as the widest cross_kv span reads, deepest last,
    each (B, S, e). `mask`: bool (B, 1, 1, S), true at real tokens; None when nothing is padded.
    """

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


class Subnet(nn.Module):
    """The Transformer of one architecture, freshly initialised.

    Parameters
    ----------
    arch, space
        The architecture, and the space it must belong to (q/k/v width, norm, width of the position
        table).
    vocab_size
        Rows of the embedding table that source, target and output share.
    config
        Gives the dropout rates; `dropout` is that of the largest network, and this one gets its
        share, p * width / largest width of the side (HAT).

    Raises
    ------
    ArchError
        If the architecture is not in the space.
    """

    def __init__(
        self,
        arch: TranslationArch,
        space: TranslationSpace,
        vocab_size: int,
        pad_id: int = 0,
        config: SupernetConfig | None = None,
    ) -> None:
        super().__init__()
        space.check(arch)
        config = config or SupernetConfig()
        e, d = arch.encoder_embed_dim, arch.decoder_embed_dim
        self.arch = arch
        self.pad_id = pad_id
        self.table_dim = max_embed_dim(space)
        self.span = max(layer.cross_span for layer in arch.decoder_layers)
        self.source_dropout = config.dropout * e / max(space.encoder_embed_dim)
        self.target_dropout = config.dropout * d / max(space.decoder_embed_dim)
        pre, attention_dropout = space.norm == "pre", config.attention_dropout
        source = StackConfig(e, space.qkv_dim, pre, self.source_dropout, attention_dropout)
        target = StackConfig(d, space.qkv_dim, pre, self.target_dropout, attention_dropout)
        self.embed = nn.Embedding(vocab_size, max(e, d))
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
        x, _ = self.decoder(
            self._embed_target(prev, 0), cross_kv, memory.mask, (), activation_checkpointing
        )
        return self._logits(x)

    def encode(self, src: Tensor, activation_checkpointing: bool = False) -> Memory:
        """Run the encoder on source ids (B, S), padded with `pad_id`."""
        real = src != self.pad_id
        mask = None if bool(real.all()) else real[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(src, self.arch.encoder_embed_dim, 0)
        x = F.dropout(x, self.source_dropout, self.training)  # (B, S, e)
        return Memory(self.encoder(x, mask, self.span, activation_checkpointing), mask)

    def start(self, memory: Memory) -> DecoderState:
        """DeviceContext what stays the same in every step: the keys and values of the
        cross_kv-attentions.
        """
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
        return F.dropout(x, self.target_dropout, self.training)  # (B, T, d)

    def _embed(self, ids: Tensor, width: int, start: int) -> Tensor:
        x: Tensor = self.embed(ids)[..., :width] * math.sqrt(width)  # (B, L, width)
        return x + positions(start, ids.shape[1], width, self.table_dim, ids.device)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(
            x, self.embed.weight[:, : self.arch.decoder_embed_dim]
        )  # (..., d) -> (..., V)

    def _initialise(self) -> None:
        initialise_table(self.embed.weight, self.table_dim, self.pad_id)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def max_embed_dim(space: TranslationSpace) -> int:
    """Largest embed width of either side: the columns of the supernet's table and of the position
    table.
    """
    return max(*space.encoder_embed_dim, *space.decoder_embed_dim)


@torch.no_grad()
def initialise_table(table: Tensor, max_dim: int, pad_id: int) -> None:
    """Fill an embedding table from N(0, 1 / max_dim), the row of the padding with zeros."""
    table.normal_(0.0, max_dim**-0.5)
    table[pad_id] = 0.0


@torch.no_grad()
def extract(net: "Supernet", arch: TranslationArch) -> Subnet:
    """Collapse a supernet to one architecture: routers are evaluated once, experts mixed once, all
    else sliced.

    Law: `extract(net, arch)(src, prev)` equals `net.eval()(src, prev, arch)`. The supernet is left
    as it is, and shares no memory with the result, which is in eval mode.

    Raises
    ------
    ArchError
        If the architecture is not in the supernet's space.
    """
    subnet = net.skeleton(arch)
    weights = net.generate(arch, router_dropout=False)
    subnet.load_state_dict({name: weight.clone() for name, weight in weights.items()}, assign=True)
    return subnet.eval()
