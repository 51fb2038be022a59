"""Modules that hold the largest weights of a space and hand out the part that an architecture uses.

In: active widths. Out: `StateDict`, tensors under the names that the plain module of the same kind
gives them. First rows, first columns: a slice is a view, nothing is copied. This file computes no
activation and knows no expert.

Shapes: O and I largest output and input widths, o and i active ones, V vocabulary.
"""

import torch
from torch import Tensor, nn

from ..families.translation.network import initialise_table

StateDict = dict[str, Tensor]


def with_prefix(**parts: StateDict) -> StateDict:
    """Join the weights of several modules, each name prefixed with its module's."""
    return {
        f"{prefix}.{name}": tensor
        for prefix, part in parts.items()
        for name, tensor in part.items()
    }


class ElasticEmbedding(nn.Module):
    """One table (V, D) for source, target and output."""

    def __init__(self, vocab_size: int, max_dim: int, pad_id: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, max_dim))
        initialise_table(self.weight, max_dim, pad_id)

    def generate(self, width: int) -> StateDict:
        """First `width` columns: (V, width)."""
        return {"weight": self.weight[:, :width]}


class ElasticLinear(nn.Module):
    """An affine map (O, I), Xavier-uniform, zero bias."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        nn.init.xavier_uniform_(self.weight)

    def generate(self, in_dim: int, out_dim: int, alignment: None = None) -> StateDict:
        """First `out_dim` rows, first `in_dim` columns: (o, i) and (o,); there is nothing to mix."""
        return {"weight": self.weight[:out_dim, :in_dim], "bias": self.bias[:out_dim]}


class ElasticLayerNorm(nn.Module):
    """Gain and bias of a LayerNorm over the first columns."""

    def __init__(self, max_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(max_dim))
        self.bias = nn.Parameter(torch.zeros(max_dim))

    def generate(self, width: int) -> StateDict:
        """First `width` gains and biases."""
        return {"weight": self.weight[:width], "bias": self.bias[:width]}
