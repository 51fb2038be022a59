"""Multi-head attention with a q/k/v width of its own, over keys and values that are computed once
and kept.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dropout import drop

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
    """What `scaled_dot_product_attention` computes, as a product, a softmax and a product."""
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
