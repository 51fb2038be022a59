"""The plain Transformer layers: the one definition of what a layer of any family computes."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .attention import Attention, KeyValues, Linear
from .dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
}
RESIDUAL_GAIN = 0.1


@dataclass(frozen=True)
class StackConfig:
    """What all layers of one stack have in common."""

    dim: int
    qkv_dim: int
    activation: Literal["relu", "gelu", "gelu_tanh"]
    norm_epsilon: float
    pre_norm: bool
    dropout: float
    attention_dropout: float

    def attention(self, memory_dim: int, heads: int) -> Attention:
        """An attention of this stack over a memory of another or the same width."""
        return Attention(self.dim, memory_dim, self.qkv_dim, heads, self.attention_dropout)

    def layer_norm(self) -> nn.LayerNorm:
        """A norm over the embed width."""
        return nn.LayerNorm(self.dim, eps=self.norm_epsilon)


class EncoderLayer(nn.Module):
    """Self-attention and FFN, each with a residual and a norm."""

    def __init__(self, config: StackConfig, heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.activation = ACTIVATIONS[config.activation]
        self.self_attn = config.attention(config.dim, heads)
        self.self_attn_norm = config.layer_norm()
        self.fc1 = Linear(config.dim, ffn_dim)
        self.fc2 = Linear(ffn_dim, config.dim)
        self.ffn_norm = config.layer_norm()
        self.drop = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, length: int | None = None) -> Tensor:
        """Map (B, S, D) to (B, S, D); `mask` is bool (B, 1, 1, S), true at real tokens."""
        y = self.self_attn_norm(x) if self.pre_norm else x
        memory = self.self_attn.project(y)
        y = self.drop(self.self_attn(y[:, :length], memory, mask))  # (B, length, D)
        x = x[:, :length]
        x = x + y if self.pre_norm else self.self_attn_norm(x + y)
        y = self.ffn_norm(x) if self.pre_norm else x
        y = self.drop(self.fc2(self.activation(self.fc1(y))))  # (B, S, F) -> (B, S, D)
        output: Tensor = x + y if self.pre_norm else self.ffn_norm(x + y)
        return output


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to a memory, and FFN."""

    def __init__(
        self, config: StackConfig, memory_dim: int, self_heads: int, cross_heads: int, ffn_dim: int
    ) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.activation = ACTIVATIONS[config.activation]
        self.self_attn = config.attention(config.dim, self_heads)
        self.self_attn_norm = config.layer_norm()
        self.cross_attn = config.attention(memory_dim, cross_heads)
        self.cross_attn_norm = config.layer_norm()
        self.fc1 = Linear(config.dim, ffn_dim)
        self.fc2 = Linear(ffn_dim, config.dim)
        self.ffn_norm = config.layer_norm()
        self.drop = Dropout(config.dropout)

    def forward(
        self, x: Tensor, cross_kv: KeyValues, mask: Tensor | None, past_kv: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        """Map all positions at once (`past_kv` None), or the one position that follows
        `past_kv`.
        """
        y = self.self_attn_norm(x) if self.pre_norm else x
        self_kv = self.self_attn.project(y)
        if past_kv is not None:
            self_kv = past_kv.append(self_kv)
        # no padding mask: padding stands behind all real positions, which the causal mask keeps
        # from reading it; a single new position reads all that came before and needs no mask at all
        y = self.drop(self.self_attn(y, self_kv, causal=past_kv is None))  # (B, T, D)
        x = x + y if self.pre_norm else self.self_attn_norm(x + y)
        y = self.cross_attn_norm(x) if self.pre_norm else x
        y = self.drop(self.cross_attn(y, cross_kv, mask))  # (B, T, D)
        x = x + y if self.pre_norm else self.cross_attn_norm(x + y)
        y = self.ffn_norm(x) if self.pre_norm else x
        y = self.drop(self.fc2(self.activation(self.fc1(y))))  # (B, T, F) -> (B, T, D)
        x = x + y if self.pre_norm else self.ffn_norm(x + y)
        return x, self_kv


@torch.no_grad()
def start_near_identity(layers: nn.Module) -> None:
    """Make small what the sublayers of pre-norm encoder layers add at first, in place: the maps
    that write to the residual, of elastic layers too, times `RESIDUAL_GAIN`.
    """
    for name, weight in layers.named_parameters():
        if name.endswith(("self_attn.out.weight", "fc2.weight")):
            weight.mul_(RESIDUAL_GAIN)


def checkpointed(layer: nn.Module, *inputs: Any) -> Any:
    """What a layer computes, keeping for the backward pass its inputs alone; the rest is computed
    there again (Chen et al., 2016).
    """
    # taken now: a supernet's skeleton has its generated weights during the forward pass only
    weights: dict[str, Tensor] = dict(layer.named_parameters())
    return checkpoint(
        lambda *again: torch.func.functional_call(layer, weights, again),
        *inputs,
        use_reentrant=False,
    )
