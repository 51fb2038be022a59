"""The plain Transformer layers: the one definition of what a layer of any family computes."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

MIN_POSITIONS = 256


def positions(start: int, length: int, width: int, table_dim: int, device: torch.device) -> Tensor:
    """Interleaved sinusoids of positions start..start + length - 1, first `width` columns of a
    `table_dim` wide table.
    """
    # tables of 256, 512, 1024, ... rows: a decoder that grows by one position reads the same one
    rows = max(MIN_POSITIONS, 1 << (start + length - 1).bit_length())
    return _position_table(rows, table_dim, device)[start : start + length, :width]


@functools.lru_cache(maxsize=16)
def _position_table(rows: int, dim: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a table made in inference mode must serve training too
        frequency = torch.exp(
            torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10_000.0) / dim)
        )  # (D / 2,)
        angle = torch.arange(rows, dtype=torch.float64)[:, None] * frequency  # (rows, D / 2)
        table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :dim]  # (rows, D)
        return table.to(device, torch.float32)


class Embedding(nn.Embedding):
    """PyTorch's, which draws nothing on the meta device: that imports `torch._dynamo`, which takes
    longer than `torch`.
    """

    def reset_parameters(self) -> None:
        """Draw the rows, unless they take no memory."""
        if not self.weight.is_meta:
            super().reset_parameters()


@torch.no_grad()
def initialise_table(table: Tensor, max_dim: int, pad_id: int | None) -> None:
    """Fill an embedding table (V, D) from N(0, 1 / max_dim), the row of the padding, if there is
    one, with zeros.
    """
    table.normal_(0.0, max_dim**-0.5)
    if pad_id is not None:
        table[pad_id] = 0.0


_BITS = 16  # of a random number for each activation
_RANGE = 1 << _BITS


def drop(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Drop out as `torch.nn.functional.dropout` does, by other random numbers on a CPU."""
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    size = x.numel()
    # all 64 bits are random, a multiple of four numbers of 16 bits
    drawn = torch.empty(-(-size * _BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    numbers = drawn.view(torch.int16)[:size].view(x.shape)  # uniform from -2**15 to 2**15 - 1
    # the highest number is kept whatever the share: a bound above it would not fit 16 bits
    kept = numbers >= min(round(p * _RANGE), _RANGE - 1) - _RANGE // 2
    return x * (kept.to(x.dtype) * (1 / (1 - p)))


class Dropout(nn.Dropout):
    """`drop` as a layer, which is off in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return drop(x, self.p, self.training)


MAX_UNFUSED_SCORES = 256 * 256
"""Scores T * L of a head up to which attention is computed unfused where that is asked for: they
are all kept for the backward pass.
"""

_IS_UNFUSED = ContextVar("is_unfused", default=False)


@contextmanager
def computing_attention(is_unfused: bool) -> Iterator[None]:
    """Compute attention unfused, or by torch's fused function, forward and backward."""
    token = _IS_UNFUSED.set(is_unfused)
    try:
        yield
    finally:
        _IS_UNFUSED.reset(token)


class Linear(nn.Linear):
    """`nn.Linear` whose owner fills the weights; a subnet is often built only to receive them."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class KeyValues(NamedTuple):
    """Keys and values of one attention, each of shape (B, H, L, K)."""

    keys: Tensor
    values: Tensor

    def append(self, new: "KeyValues") -> "KeyValues":
        """Put the keys and values of later positions behind these."""
        return KeyValues(
            torch.cat((self.keys, new.keys), dim=2), torch.cat((self.values, new.values), dim=2)
        )

    def reorder(self, index: Tensor) -> "KeyValues":
        """Pick rows of the batch; `index` is int64 of any length."""
        return KeyValues(self.keys.index_select(0, index), self.values.index_select(0, index))


class Attention(nn.Module):
    """Scaled dot-product attention, scale 1 / sqrt(qkv_dim / heads); heads only re-partition
    `qkv_dim`.
    """

    def __init__(
        self, query_dim: int, memory_dim: int, qkv_dim: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        # q reads this stack, k and v the memory, whose width may be another
        self.q = Linear(query_dim, qkv_dim)
        self.k = Linear(memory_dim, qkv_dim)
        self.v = Linear(memory_dim, qkv_dim)
        self.out = Linear(qkv_dim, query_dim)

    def project(self, memory: Tensor) -> KeyValues:
        """Keys and values of a memory of shape (B, L, D)."""
        return KeyValues(self._split(self.k(memory)), self._split(self.v(memory)))

    def forward(
        self, queries: Tensor, memory: KeyValues, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from queries of shape (B, T, D)."""
        heads = self._split(self.q(queries))  # (B, H, T, K)
        # the functions drop out in eval mode too unless their rate is 0
        dropout = self.dropout if self.training else 0.0
        num_scores = heads.shape[2] * memory.keys.shape[2]
        if _IS_UNFUSED.get() and num_scores <= MAX_UNFUSED_SCORES:
            mixed = unfused_attention(heads, memory, mask, dropout, causal)  # (B, H, T, K)
        else:
            # torch aligns the causal mask to the first key, so that it is right only where T = L
            mixed = F.scaled_dot_product_attention(
                heads,
                memory.keys,
                memory.values,
                attn_mask=mask,
                dropout_p=dropout,
                is_causal=causal,
            )  # (B, H, T, K)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))  # (B, T, D)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, L, H * K) -> (B, H, L, K)


def unfused_attention(
    queries: Tensor, memory: KeyValues, mask: Tensor | None, dropout: float, causal: bool
) -> Tensor:
    """Compute `scaled_dot_product_attention` as a product, a softmax and a product."""
    # the queries are scaled, not the scores: they are fewer numbers
    scores = queries * queries.shape[-1] ** -0.5 @ memory.keys.mT  # (B, H, T, L)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    # under autocast the softmax is computed in float32
    weights = drop(scores.softmax(-1), dropout)
    return weights.to(memory.values.dtype) @ memory.values


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
}
RESIDUAL_GAIN = 0.1


@dataclass(frozen=True)
class StackConfig:
    """Settings of all layers of one stack."""

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
    """Run a layer and keep only its inputs for the backward pass; the rest is computed
    there again (Chen et al., 2016).
    """
    # taken now: a supernet's skeleton has its generated weights during the forward pass only
    weights: dict[str, Tensor] = dict(layer.named_parameters())
    return checkpoint(
        lambda *again: torch.func.functional_call(layer, weights, again),
        *inputs,
        use_reentrant=False,
    )
