"""The encoder of one architecture as a plain network: embeddings, post-norm layers, a head."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.sections import SupernetConfig
from ...spaces.encoder import EncoderArch, EncoderSpace
from ...supernet.elastic import Subnet
from ...supernet.layers import (
    ACTIVATIONS,
    Dropout,
    Embedding,
    EncoderLayer,
    Linear,
    StackConfig,
    checkpointed,
    initialise_table,
)

OUTPUT_STD = 0.02
"""Standard deviation of a fresh output layer's weights (BERT): its first logits are near 0."""


Activation = Callable[[Tensor], Tensor]


def no_scale(num_outputs: int) -> Tensor | None:
    """Center 0 and spread 1 for the head of a regression, which alone has one output."""
    return torch.tensor([0.0, 1.0]) if num_outputs == 1 else None


class PooledHead(nn.Module):
    """A dense layer with activation on the first position, then a linear layer; with tanh it is
    BERT's classifier.
    """

    scale: Tensor | None

    def __init__(
        self, dim: int, num_outputs: int, dropout: float, activation: Activation = torch.tanh
    ) -> None:
        super().__init__()
        self.activation = activation
        self.dense = Linear(dim, dim)
        self.out = Linear(dim, num_outputs)
        self.register_buffer("scale", no_scale(num_outputs))
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, d) to (B, C)."""
        pooled = self.activation(self.dense(x[:, 0]))  # (B, d)
        logits: Tensor = self.out(self.drop(pooled))
        if self.scale is None:
            return logits
        # slices rather than numbers: they lift bf16 to fp32, which holds large labels
        return self.scale[:1] + self.scale[1:] * logits


class TokensHead(nn.Module):
    """A linear layer on each position."""

    def __init__(self, dim: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.out = Linear(dim, num_outputs)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, d) to (B, S, C)."""
        logits: Tensor = self.out(self.drop(x))
        return logits


class MaskedLMHead(nn.Module):
    """A dense layer with activation and norm, then the product with the embedding table."""

    def __init__(self, space: EncoderSpace, dim: int, vocab_size: int) -> None:
        super().__init__()
        table_dim = space.table_dim or dim
        self.activation = ACTIVATIONS[space.activation]
        self.dense = Linear(dim, table_dim)
        self.norm = nn.LayerNorm(table_dim, eps=space.norm_epsilon)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """Map (..., d) to logits (..., V) by way of the embedding table (V, t)."""
        x = self.norm(self.activation(self.dense(x)))  # (..., t)
        return F.linear(x, table, self.bias)


class BottleneckLayer(EncoderLayer):
    """An encoder layer of another width than the states that it reads and gives, with a linear
    layer on either side (SuperShaper, Ganesan et al., 2021).
    """

    def __init__(self, outer_dim: int, stack: StackConfig, heads: int, ffn_dim: int) -> None:
        super().__init__(stack, heads, ffn_dim)
        self.narrow = Linear(outer_dim, stack.dim)
        self.widen = Linear(stack.dim, outer_dim)

    def forward(self, x: Tensor, mask: Tensor | None, length: int | None = None) -> Tensor:
        """Map (B, S, d) to (B, S, d), or to (B, length, d)."""
        output: Tensor = self.widen(super().forward(self.narrow(x), mask, length))
        return output


def pass_through(*linears: nn.Module) -> None:
    """Let bottlenecks hand on the first columns as they are: a layer that is as wide as the states
    around it then computes what it would without them.
    """
    for linear in linears:
        nn.init.eye_(cast("Tensor", linear.weight))
        nn.init.zeros_(cast("Tensor", linear.bias))


class EncoderSubnet(Subnet):
    """The encoder of one architecture with its head, freshly initialised."""

    arch: EncoderArch

    def __init__(
        self,
        arch: EncoderArch,
        space: EncoderSpace,
        vocab_size: int,
        config: SupernetConfig | None = None,
    ) -> None:
        super().__init__()
        space.check(arch)
        config = config or SupernetConfig()
        d = arch.embed_dim
        t = space.table_dim or d
        dropout = config.dropout * d / max(space.embed_dim)
        self.arch = arch
        self.table_dim = space.embedding_dim
        self.embed = Embedding(vocab_size, t)
        self.positions = Embedding(space.max_positions, t)
        self.types = Embedding(space.num_types, t) if space.num_types else None
        self.embed_norm = nn.LayerNorm(t, eps=space.norm_epsilon)
        self.embed_project = Linear(t, d) if space.table_dim else None
        self.drop = Dropout(dropout)
        # each layer has attentions of its own width
        rates = (dropout, config.attention_dropout)
        stack = StackConfig(d, 0, space.activation, space.norm_epsilon, False, *rates)
        self.layers = nn.ModuleList()
        for layer in arch.layers:
            dim = layer.dim or d
            own = replace(stack, dim=dim, qkv_dim=space.attention_dim(dim, layer.heads))
            widths = (own, layer.heads, layer.ffn_dim)
            is_plain = layer.dim is None
            self.layers.append(EncoderLayer(*widths) if is_plain else BottleneckLayer(d, *widths))
        self.head: PooledHead | TokensHead | MaskedLMHead | None = None
        if space.head == "pooled":
            self.head = PooledHead(d, space.num_outputs, dropout)
        elif space.head == "tokens":
            self.head = TokensHead(d, space.num_outputs, dropout)
        elif space.head == "masked-lm":
            self.head = MaskedLMHead(space, d, vocab_size)
        # positions of the last layer that the head reads; None for all
        self.num_read = 1 if space.reads_first else None
        if not self.embed.weight.is_meta:
            self._initialise()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        hidden: Tensor | None = None,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        """Run the encoder and its head on padded texts."""
        inputs = (input_ids, attention_mask, token_type_ids)
        states = self.hidden_states(*inputs, activation_checkpointing, self.num_read)
        (x,) = deque(states, maxlen=1)  # (B, S, d)
        if self.head is None:
            return F.normalize(x[:, 0], dim=-1) if self.num_read else mean_vector(x, attention_mask)
        if hidden is not None:
            x = x.flatten(0, 1)[hidden]  # (M, d)
        is_masked_lm = isinstance(self.head, MaskedLMHead)
        logits: Tensor = self.head(x, self.embed.weight) if is_masked_lm else self.head(x)
        return logits

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        activation_checkpointing: bool = False,
        num_read: int | None = None,
    ) -> Iterator[Tensor]:
        """What goes into the first layer and what comes out of each, every one (B, S, d), of the
        last only the first `num_read` positions, if given; the inputs are those of `forward`.
        """
        real = attention_mask.bool()  # (B, S)
        # attention without a mask is faster, and most batches of one length need none
        mask = None if bool(real.all()) else real[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(input_ids, token_type_ids)
        yield x
        for i, layer in enumerate(self.layers):
            length = num_read if i == len(self.layers) - 1 else None
            through = partial(checkpointed, layer) if activation_checkpointing else layer
            x = through(x, mask, length)
            yield x

    def _embed(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        # positions count from 0: padding stands behind all real tokens
        x = self.embed(input_ids) + self.positions.weight[: input_ids.shape[1]]  # (B, S, t)
        if self.types is not None:
            x = x + self.types(token_type_ids)
        x = self.drop(self.embed_norm(x))
        output: Tensor = x if self.embed_project is None else self.embed_project(x)  # (B, S, d)
        return output

    def _initialise(self) -> None:
        for table in (self.embed, self.positions, self.types):
            if table is not None:
                initialise_table(table.weight, self.table_dim, None)
        linears = [module for module in self.modules() if isinstance(module, nn.Linear)]
        for linear in linears:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for layer in self.layers:
            if isinstance(layer, BottleneckLayer):
                pass_through(layer.narrow, layer.widen)
        if isinstance(self.head, PooledHead | TokensHead):
            nn.init.normal_(self.head.out.weight, std=OUTPUT_STD)


def mean_vector(x: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of the real tokens of (B, S, d), scaled to length 1: (B, d)."""
    real = attention_mask[:, :, None].to(x.dtype)  # (B, S, 1)
    mean = (x * real).sum(1) / real.sum(1)
    return F.normalize(mean, dim=-1)
