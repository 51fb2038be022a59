"""Mixture of Supernets: FFN weights generated from the architecture (Jawahar et al., ACL Findings 2024).

In: the encoding of an architecture and its active widths. Out: dense weights, mixed from m experts by a router. Without
routing, or with one expert, this is ordinary slicing. This file computes no activation.

Shapes: O and I largest output and input widths, o and i active ones, m experts, G length of the encoding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import SupernetConfig
from .elastic import Weights, under


class Router(nn.Module):
    """Turns the encoding of an architecture into mixing coefficients, a softmax over experts for each row.

    Layer-wise routing has one row; neuron-wise routing has a row for each output neuron, and row j belongs to neuron j
    in every architecture.
    """

    def __init__(self, encoding_dim: int, num_rows: int, num_experts: int, config: SupernetConfig) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.dropout = config.router_dropout
        self.hidden = nn.Linear(encoding_dim, config.router_hidden_dim)
        self.out = nn.Linear(config.router_hidden_dim, num_rows * num_experts)

    def forward(self, encoding: Tensor, num_rows: int, dropout: bool) -> Tensor:
        """Coefficients of the first `num_rows` rows, (num_rows, m), each row adding up to 1, from an encoding (G,)."""
        hidden = F.dropout(F.relu(self.hidden(encoding)), self.dropout, training=dropout)
        end = num_rows * self.num_experts
        scores = F.linear(hidden, self.out.weight[:end], self.out.bias[:end])  # (num_rows * m,)
        return scores.view(num_rows, self.num_experts).softmax(dim=-1)


class MoSLinear(nn.Module):
    """An affine map held as m experts: weight (m, O, I), bias (m, O).

    The experts start from independent Xavier draws, sqrt(m) wider, so that an even mix of them has the Xavier variance;
    from equal starts they would get equal gradients and never part.
    """

    def __init__(self, in_dim: int, out_dim: int, num_experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(num_experts, out_dim))
        for expert in self.weight:
            nn.init.xavier_uniform_(expert, gain=num_experts**0.5)

    def generate(self, in_dim: int, out_dim: int, mix: Tensor | None) -> Weights:
        """Dense weights (o, i) and (o,): slice the experts, then mix the slices.

        Parameters
        ----------
        mix
            Coefficients (o, m), or (1, m) for all rows alike; None takes the only expert as it is.
        """
        weight, bias = self.weight[:, :out_dim, :in_dim], self.bias[:, :out_dim]  # (m, o, i), (m, o)
        if mix is None:
            return {"weight": weight[0], "bias": bias[0]}
        mix = mix.expand(out_dim, -1)  # (o, m)
        return {"weight": torch.einsum("om,moi->oi", mix, weight), "bias": torch.einsum("om,mo->o", mix, bias)}


class MoSFeedForward(nn.Module):
    """Both maps of an FFN with their routing.

    `layer`: one router, whose coefficients serve fc1 and fc2. `neuron`: a router each. `none` or one expert: no router.
    """

    def __init__(self, dim: int, ffn_dim: int, encoding_dim: int, config: SupernetConfig) -> None:
        super().__init__()
        routed = config.routing != "none" and config.num_experts > 1
        num_experts = config.num_experts if routed else 1
        self.fc1 = MoSLinear(dim, ffn_dim, num_experts)
        self.fc2 = MoSLinear(ffn_dim, dim, num_experts)
        self.layer_router: Router | None = None
        self.fc1_router: Router | None = None
        self.fc2_router: Router | None = None
        if routed and config.routing == "layer":
            self.layer_router = Router(encoding_dim, 1, num_experts, config)
        elif routed:
            self.fc1_router = Router(encoding_dim, ffn_dim, num_experts, config)
            self.fc2_router = Router(encoding_dim, dim, num_experts, config)

    def generate(self, dim: int, ffn_dim: int, encoding: Tensor, router_dropout: bool) -> Weights:
        """Weights of fc1 (ffn_dim, dim) and fc2 (dim, ffn_dim) for an architecture with this encoding (G,)."""
        fc1_mix = fc2_mix = None
        if self.layer_router is not None:
            fc1_mix = fc2_mix = self.layer_router(encoding, 1, router_dropout)
        elif self.fc1_router is not None and self.fc2_router is not None:
            fc1_mix = self.fc1_router(encoding, ffn_dim, router_dropout)
            fc2_mix = self.fc2_router(encoding, dim, router_dropout)
        return under(fc1=self.fc1.generate(dim, ffn_dim, fc1_mix), fc2=self.fc2.generate(ffn_dim, dim, fc2_mix))
