"""Small encoder spaces and inputs of the encoder's tests."""

import numpy as np
import torch
from torch import Tensor, nn

from mosdeploy.spaces.encoder import EncoderArch, EncoderSpace

VOCAB_SIZE = 30

HEADS = {"pooled": 3, "tokens": 5, "vector": 0, "cls-vector": 0, "masked-lm": 0}


def small_space(**changes: object) -> EncoderSpace:
    """Every kind of choice; attentions narrower and wider than the hidden states."""
    head = changes.get("head", "pooled")
    values: dict[str, object] = {
        "embed_dim": (8, 12),
        "layers": (1, 2, 3),
        "ffn_dim": (5, 9, 16),
        "heads": (1, 2, 4),
        "head_dim": 4,
        "max_positions": 9,
        "num_outputs": HEADS[head],
    }
    return EncoderSpace(**{**values, **changes})


def some_archs(space: EncoderSpace, count: int = 6) -> list[EncoderArch]:
    """The largest, the smallest, and so many random ones."""
    rng = np.random.default_rng(0)
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(count))]


def texts(lengths: tuple[int, ...] = (6, 2, 5)) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types of texts of these lengths, padded on the right; the second half of each
    is of type 1.
    """
    generator = torch.Generator().manual_seed(1)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    types = torch.zeros_like(ids)
    for i, length in enumerate(lengths):
        ids[i, :length] = torch.randint(4, VOCAB_SIZE, (length,), generator=generator)
        mask[i, :length] = 1
        types[i, length // 2 : length] = 1
    return ids, mask, types


def shake(net: nn.Module, scale: float = 0.1, seed: int = 5) -> None:
    """Move all parameters away from their neutral values, so that every one of them counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
