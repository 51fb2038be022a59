"""Mixture of Supernets: weights generated from the architecture (Jawahar et al., ACL Findings
2024).
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.sections import SupernetConfig
from .elastic import ElasticLayerNorm, ElasticLinear, StateDict, with_prefix

ROUTER_STD = 0.3
"""Of a router's weights in a network that starts from given ones."""

EXPERT_DISTANCE = 0.05
"""Of the experts of such a network, as a share of the standard deviation of the weights."""

Size = tuple[int, int]
"""Input and output width of an affine map."""


def ffn_sizes(dim: int, ffn_dim: int) -> dict[str, Size]:
    """The maps of an FFN."""
    return {"fc1": (dim, ffn_dim), "fc2": (ffn_dim, dim)}


def attention_sizes(query_dim: int, memory_dim: int, qkv_dim: int) -> dict[str, Size]:
    """The maps of an attention: inputs and output follow the embed widths, the q/k/v width is fixed
    (HAT).
    """
    return {
        "q": (query_dim, qkv_dim),
        "k": (memory_dim, qkv_dim),
        "v": (memory_dim, qkv_dim),
        "out": (qkv_dim, query_dim),
    }


def routed(config: SupernetConfig) -> bool:
    """Whether there is anything to route."""
    return config.routing != "none" and config.num_experts > 1


class Router(nn.Module):
    """Turns the encoding of an architecture into the alignment of experts: a softmax over experts
    for each row.
    """

    def __init__(self, encoding_dim: int, num_rows: int, config: SupernetConfig) -> None:
        super().__init__()
        self.num_experts = config.num_experts
        self.dropout = config.router_dropout
        self.hidden = nn.Linear(encoding_dim, config.router_hidden_dim)
        self.out = nn.Linear(config.router_hidden_dim, num_rows * config.num_experts)

    def forward(self, encoding: Tensor, num_rows: int, dropout: bool) -> Tensor:
        """Coefficients of the first `num_rows` rows, (num_rows, m), each row adding up to 1, from
        an encoding (G,).
        """
        hidden = F.dropout(F.relu(self.hidden(encoding)), self.dropout, training=dropout)
        # a narrower layer needs the rows of its first neurons only
        end = num_rows * self.num_experts
        scores = F.linear(hidden, self.out.weight[:end], self.out.bias[:end])  # (num_rows * m,)
        return scores.view(num_rows, self.num_experts).softmax(dim=-1)  # (num_rows, m)


class MoSLinear(nn.Module):
    """An affine map held as m experts: weight (m, O, I), bias (m, O)."""

    def __init__(self, in_dim: int, out_dim: int, num_experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, out_dim, in_dim))  # (m, O, I)
        self.bias = nn.Parameter(torch.zeros(num_experts, out_dim))  # (m, O)
        for expert in self.weight:
            nn.init.xavier_uniform_(expert, gain=num_experts**0.5)

    def generate(self, in_dim: int, out_dim: int, alignment: Tensor | None) -> StateDict:
        """Dense weights (o, i) and (o,): slice the experts, then mix the slices."""
        weight = self.weight[:, :out_dim, :in_dim]  # (m, o, i)
        bias = self.bias[:, :out_dim]  # (m, o)
        if alignment is None:
            return {"weight": weight[0], "bias": bias[0]}
        # row j of the weights is the sum over experts e of share[e, j] * weight[e, j]; a single
        # column (m, 1) serves all rows
        share = alignment.t()  # (m, o) or (m, 1)
        return {"weight": (share[:, :, None] * weight).sum(0), "bias": (share * bias).sum(0)}


class MoSBlock(nn.Module):
    """Affine maps that belong together, those of an FFN or of an attention, with their routing."""

    def __init__(
        self, sizes: Mapping[str, Size], encoding_dim: int, config: SupernetConfig | None
    ) -> None:
        super().__init__()
        for name, size in sizes.items():
            self.add_module(name, _map(size, config))
        self.layer_router: Router | None = None
        if config is None or not routed(config):
            return
        if config.routing == "layer":
            self.layer_router = Router(encoding_dim, 1, config)
        else:
            for name, (_, out_dim) in sizes.items():
                self.add_module(f"{name}_router", Router(encoding_dim, out_dim, config))

    def generate(
        self, sizes: Mapping[str, Size], encoding: Tensor, router_dropout: bool
    ) -> StateDict:
        """Weights (o, i) and biases (o,) of active widths `sizes`, for an architecture with this
        encoding (G,).
        """
        shared = None
        if self.layer_router is not None:
            shared = self.layer_router(encoding, 1, router_dropout)  # (1, m)
        parts = {}
        for name, (in_dim, out_dim) in sizes.items():
            router = self._modules.get(f"{name}_router")
            alignment = shared
            if router is not None:
                alignment = router(encoding, out_dim, router_dropout)  # (o, m)
            linear = cast("MoSLinear", self._modules[name])
            parts[name] = linear.generate(in_dim, out_dim, alignment)
        return with_prefix(**parts)

    @torch.no_grad()
    def start_from(self, weights: StateDict, encoding: Tensor) -> None:
        """Set experts and routers so that the architecture of this encoding (G,) gets exactly the
        given weights of the largest widths, and others nearly the same.
        """
        routers = [module for module in self.children() if isinstance(module, Router)]
        for router in routers:
            for layer in (router.hidden, router.out):
                nn.init.normal_(layer.weight, std=ROUTER_STD)
                nn.init.zeros_(layer.bias)
        maps = {
            name: module for name, module in self.named_children() if isinstance(module, MoSLinear)
        }
        for name, linear in maps.items():
            linear.weight.zero_()
            # from equal starts the experts would get equal gradients; biases move apart by
            # themselves, since rows of unequal coefficients get unequal gradients
            std = EXPERT_DISTANCE * float(weights[f"{name}.weight"].std())
            linear.weight[1:].normal_(0.0, std)
            linear.bias.copy_(weights[f"{name}.bias"])  # (m, O) from (O,)
        sizes = {
            name: (linear.weight.shape[2], linear.weight.shape[1]) for name, linear in maps.items()
        }
        mixed = self.generate(sizes, encoding, router_dropout=False)
        for name, linear in maps.items():
            linear.weight.add_(weights[f"{name}.weight"] - mixed[f"{name}.weight"])  # (m, O, I)


def _map(size: Size, config: SupernetConfig | None) -> ElasticLinear | MoSLinear:
    if config is None:
        return ElasticLinear(*size)
    return MoSLinear(*size, config.num_experts if routed(config) else 1)


class ElasticLayer(nn.Module):
    """The largest layer of a stack, whose FFN is mixed from experts; a decoder's has a
    cross-attention to a memory too.
    """

    def __init__(
        self,
        dim: int,
        qkv_dim: int,
        ffn_dim: int,
        encoding_dim: int,
        config: SupernetConfig,
        memory_dim: int | None = None,
        routes_attention: bool = False,
    ) -> None:
        super().__init__()
        # this order is that of the random draws: another one gives a seed other weights; None:
        # plain slices, where MoS routes the FFN alone
        sizes = attention_sizes(dim, dim, qkv_dim)
        self.self_attn = MoSBlock(sizes, encoding_dim, config if routes_attention else None)
        self.self_attn_norm = ElasticLayerNorm(dim)
        if memory_dim is not None:
            sizes = attention_sizes(dim, memory_dim, qkv_dim)
            self.cross_attn = MoSBlock(sizes, encoding_dim, None)
            self.cross_attn_norm = ElasticLayerNorm(dim)
        self.ffn = MoSBlock(ffn_sizes(dim, ffn_dim), encoding_dim, config)
        self.ffn_norm = ElasticLayerNorm(dim)

    def generate(
        self,
        dim: int,
        qkv_dim: int,
        ffn_dim: int,
        encoding: Tensor,
        router_dropout: bool,
        memory_dim: int | None = None,
    ) -> StateDict:
        """Weights of an `EncoderLayer`, or with a memory of a `DecoderLayer`, of these widths."""
        sizes = attention_sizes(dim, dim, qkv_dim)
        parts = {
            "self_attn": self.self_attn.generate(sizes, encoding, router_dropout),
            "self_attn_norm": self.self_attn_norm.generate(dim),
            "ffn_norm": self.ffn_norm.generate(dim),
        }
        if memory_dim is not None:
            # keys and values read the memory's active width, queries and output this stack's
            sizes = attention_sizes(dim, memory_dim, qkv_dim)
            parts["cross_attn"] = self.cross_attn.generate(sizes, encoding, router_dropout)
            parts["cross_attn_norm"] = self.cross_attn_norm.generate(dim)
        # the FFN has no prefix: in the plain layer no module stands around fc1 and fc2
        ffn = self.ffn.generate(ffn_sizes(dim, ffn_dim), encoding, router_dropout)
        return with_prefix(**parts) | ffn
