"""Modules that hold the largest weights of a space and hand out the part that an
architecture uses.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from ..spaces.genes import ArchConfig
from .layers import initialise_table

StateDict = dict[str, Tensor]


class Subnet(nn.Module):
    """The plain network of one architecture; a family fills in the rest."""

    arch: ArchConfig


class ElasticNetwork(Protocol):
    """A family's part of a `Supernet`: a module with the largest weights of its space."""

    vocab_size: int

    def generate(self, arch: ArchConfig, encoding: Tensor, router_dropout: bool) -> StateDict:
        """Dense weights of an architecture of the space, under the names of its subnet."""

    def skeleton(self, arch: ArchConfig) -> Subnet:
        """The plain network of an architecture, its weights on the meta device."""


def with_prefix(**parts: StateDict) -> StateDict:
    """Join the weights of several modules, each name prefixed with its module's."""
    return {
        f"{prefix}.{name}": tensor
        for prefix, part in parts.items()
        for name, tensor in part.items()
    }


def part_of(weights: StateDict, prefix: str) -> StateDict:
    """The weights of one module, from those of the network around it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in weights.items()
        if name.startswith(start)
    }


class ElasticEmbedding(nn.Module):
    """One table (V, D)."""

    def __init__(self, vocab_size: int, max_dim: int, pad_id: int | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, max_dim))  # (V, D)
        # the variance follows from the largest width: all widths read the same columns
        initialise_table(self.weight, max_dim, pad_id)

    def generate(self, width: int) -> StateDict:
        """First `width` columns: (V, width)."""
        return {"weight": self.weight[:, :width]}


class ElasticLinear(nn.Module):
    """An affine map (O, I), Xavier-uniform, zero bias."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))  # (O, I)
        self.bias = nn.Parameter(torch.zeros(out_dim))  # (O,)
        nn.init.xavier_uniform_(self.weight)

    def generate(self, in_dim: int, out_dim: int, alignment: None = None) -> StateDict:
        """First `out_dim` rows, first `in_dim` columns: (o, i) and (o,)."""
        # views: the gradients of every architecture add up in the same rows and columns
        return {"weight": self.weight[:out_dim, :in_dim], "bias": self.bias[:out_dim]}


class ElasticLayerNorm(nn.Module):
    """Gain and bias of a LayerNorm over the first columns."""

    def __init__(self, max_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(max_dim))
        self.bias = nn.Parameter(torch.zeros(max_dim))

    def generate(self, width: int) -> StateDict:
        """First `width` gains and biases."""
        # (width,) each; mean and variance are over these columns alone, in the subnet's own norm
        return {"weight": self.weight[:width], "bias": self.bias[:width]}
