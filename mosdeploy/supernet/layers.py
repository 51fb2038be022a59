"""The plain Transformer layers: the one definition of what a network of a search space computes.

In: sizes of one architecture. Out: ordinary modules. A subnet owns such modules; a supernet lends
them generated weights. Nothing here is elastic and nothing knows of experts.

Shapes: B batch, S source length, T target length, D embed width of the side, H heads, L length of
the memory read.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..spaces.translation import DecoderLayerConfig, EncoderLayerConfig
from .attention import Attention, KeyValues, Linear

MIN_POSITIONS = 256


def positions(start: int, length: int, width: int, table_dim: int, device: torch.device) -> Tensor:
    """Interleaved sinusoids of positions start..start + length - 1, first `width` columns of a
    `table_dim` wide table.

    Returns
    -------
    Tensor
        (length, width) float32; sin at even columns, cos at odd; frequency exp(-2i ln(10000) /
        table_dim) (Vaswani et al., 2017). Subnets of different width read the same columns.
    """
    rows = max(MIN_POSITIONS, 1 << (start + length - 1).bit_length())
    return _position_table(rows, table_dim, device)[start : start + length, :width]


@functools.lru_cache(maxsize=16)
def _position_table(rows: int, dim: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a table made while translating must serve training too
        frequency = torch.exp(
            torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10_000.0) / dim)
        )  # (D/2,)
        angle = torch.arange(rows, dtype=torch.float64)[:, None] * frequency  # (rows, D/2)
        table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :dim]  # (rows, D)
        return table.to(device, torch.float32)


@dataclass(frozen=True)
class StackConfig:
    """What all layers of an encoder or of a decoder have in common.

    `pre`: the norm stands before each sublayer; otherwise after its residual sum. `dropout`: after
    each sublayer. `attention_dropout`: on the attention probabilities.
    """

    dim: int
    qkv_dim: int
    pre: bool
    dropout: float
    attention_dropout: float


class EncoderLayer(nn.Module):
    """Self-attention and FFN, each with a residual and a norm."""

    def __init__(self, side: StackConfig, layer: EncoderLayerConfig) -> None:
        super().__init__()
        self.pre = side.pre
        self.self_attn = Attention(
            side.dim, side.dim, side.qkv_dim, layer.heads, side.attention_dropout
        )
        self.self_attn_norm = nn.LayerNorm(side.dim)
        self.fc1 = Linear(side.dim, layer.ffn_dim)
        self.fc2 = Linear(layer.ffn_dim, side.dim)
        self.ffn_norm = nn.LayerNorm(side.dim)
        self.drop = nn.Dropout(side.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (B, S, D) to (B, S, D); `mask` is bool (B, 1, 1, S), true at real tokens."""
        y = self.self_attn_norm(x) if self.pre else x
        y = self.drop(self.self_attn(y, self.self_attn.project(y), mask))
        x = x + y if self.pre else self.self_attn_norm(x + y)
        y = self.ffn_norm(x) if self.pre else x
        y = self.drop(self.fc2(F.relu(self.fc1(y))))
        output: Tensor = x + y if self.pre else self.ffn_norm(x + y)
        return output


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the last encoder layers, and FFN."""

    def __init__(self, side: StackConfig, memory_dim: int, layer: DecoderLayerConfig) -> None:
        super().__init__()
        self.pre = side.pre
        self.cross_span = layer.cross_span
        self.self_attn = Attention(
            side.dim, side.dim, side.qkv_dim, layer.self_heads, side.attention_dropout
        )
        self.self_attn_norm = nn.LayerNorm(side.dim)
        self.cross_attn = Attention(
            side.dim, memory_dim, side.qkv_dim, layer.cross_heads, side.attention_dropout
        )
        self.cross_attn_norm = nn.LayerNorm(side.dim)
        self.fc1 = Linear(side.dim, layer.ffn_dim)
        self.fc2 = Linear(layer.ffn_dim, side.dim)
        self.ffn_norm = nn.LayerNorm(side.dim)
        self.drop = nn.Dropout(side.dropout)

    def forward(
        self, x: Tensor, cross: KeyValues, mask: Tensor | None, past: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        """Map all target positions at once (`past` None), or the one position that follows `past`.

        Parameters
        ----------
        x
            (B, T, D); T is 1 when `past` is given.
        cross
            Keys and values of the memory that this layer reads, from `cross_attn.project`.
        mask
            Bool (B, 1, 1, L), true at real tokens of that memory.

        Returns
        -------
        tuple[Tensor, KeyValues]
            (B, T, D), and the self-attention keys and values up to this position.
        """
        y = self.self_attn_norm(x) if self.pre else x
        own = self.self_attn.project(y)
        if past is not None:
            own = past.append(own)
        y = self.drop(self.self_attn(y, own, causal=past is None))
        x = x + y if self.pre else self.self_attn_norm(x + y)
        y = self.cross_attn_norm(x) if self.pre else x
        y = self.drop(self.cross_attn(y, cross, mask))
        x = x + y if self.pre else self.cross_attn_norm(x + y)
        y = self.ffn_norm(x) if self.pre else x
        y = self.drop(self.fc2(F.relu(self.fc1(y))))
        x = x + y if self.pre else self.ffn_norm(x + y)
        return x, own


def checkpointed(layer: nn.Module, *inputs: Any) -> Any:
    """What a layer computes, keeping for the backward pass its inputs alone; the rest is computed
    there again.

    The weights are taken now: by then, a layer that was leaf_weights generated ones has them no
    more.
    """
    weights: dict[str, Tensor] = dict(layer.named_parameters())
    return checkpoint(
        lambda *again: torch.func.functional_call(layer, weights, again),
        *inputs,
        use_reentrant=False,
    )


class Encoder(nn.Module):
    """A stack of encoder layers; pre-norm adds a final norm, applied to every output that is
    attended to.
    """

    def __init__(self, side: StackConfig, layers: Sequence[EncoderLayerConfig]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(side, layer) for layer in layers)
        self.norm = nn.LayerNorm(side.dim) if side.pre else None

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
            outputs.append(x)
        kept = outputs[-num_outputs:]
        return tuple(kept if self.norm is None else (self.norm(y) for y in kept))


class Decoder(nn.Module):
    """A stack of decoder layers; pre-norm adds a final norm."""

    def __init__(
        self, side: StackConfig, memory_dim: int, layers: Sequence[DecoderLayerConfig]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(side, memory_dim, layer) for layer in layers)
        self.norm = nn.LayerNorm(side.dim) if side.pre else None

    def project(self, outputs: Sequence[Tensor]) -> tuple[KeyValues, ...]:
        """Cross-attention keys and values of each layer, from the encoder outputs (deepest last),
        each (B, S, D).
        """
        spans = {layer.cross_span for layer in self._stack}
        init_distributed = {
            n: torch.cat(tuple(outputs[-n:]), dim=1) if n > 1 else outputs[-1] for n in spans
        }  # (B, n * S, D)
        return tuple(
            layer.cross_attn.project(init_distributed[layer.cross_span]) for layer in self._stack
        )

    def forward(
        self,
        x: Tensor,
        cross: Sequence[KeyValues],
        mask: Tensor | None,
        past: Sequence[KeyValues],
        activation_checkpointing: bool = False,
    ) -> tuple[Tensor, tuple[KeyValues, ...]]:
        """Run the stack on all positions (`past` empty) or on one more.

        Parameters
        ----------
        x
            (B, T, D)
        mask
            Bool (B, 1, 1, S), true at real source tokens, or None; repeated here for the layers
            that read several encoder outputs.

        Returns
        -------
        tuple[Tensor, tuple[KeyValues, ...]]
            (B, T, D), and each layer's self-attention keys and values so far.
        """
        grown = []
        for i, layer in enumerate(self._stack):
            span_mask = (
                None if mask is None else mask.repeat(1, 1, 1, layer.cross_span)
            )  # (B, 1, 1, n * S)
            inputs = (x, cross[i], span_mask, past[i] if past else None)
            x, own = checkpointed(layer, *inputs) if activation_checkpointing else layer(*inputs)
            grown.append(own)
        return (x if self.norm is None else self.norm(x)), tuple(grown)

    @property
    def _stack(self) -> Iterable[DecoderLayer]:
        return cast("Iterable[DecoderLayer]", self.layers)
