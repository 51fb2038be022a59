"""Spaces and networks of the supernet's tests: a translation's, and a toy's."""

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_family.network import fresh_supernet
from toy_family.words import CipherSpace

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace
from mosdeploy.supernet.supernet import Supernet

# -- a translation's


@pytest.fixture
def space() -> TranslationSpace:
    """Unequal widths on both sides, every kind of choice, spans up to 3."""
    return TranslationSpace(
        encoder_embed_dim=(8, 12),
        decoder_embed_dim=(6, 10),
        encoder_layers=(1, 2, 3),
        decoder_layers=(1, 2),
        encoder_ffn_dim=(5, 9, 16),
        decoder_ffn_dim=(7, 14),
        encoder_heads=(1, 2, 4),
        decoder_self_heads=(2, 4),
        decoder_cross_heads=(1, 2),
        cross_span=(1, 2, 3),
        qkv_dim=8,
        norm="pre",
    )


@pytest.fixture
def archs(space: TranslationSpace) -> list[TranslationArch]:
    rng = np.random.default_rng(0)
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(6))]


@pytest.fixture
def src() -> Tensor:
    """Source ids (3, 6) over 20 tokens, padded by 0, 4 and 1."""
    ids = torch.randint(4, 20, (3, 6), generator=torch.Generator().manual_seed(1))
    ids[1, 2:] = 0
    ids[2, 5:] = 0
    return ids


@pytest.fixture
def prev() -> Tensor:
    """Earlier target ids (3, 5)."""
    ids = torch.randint(4, 20, (3, 5), generator=torch.Generator().manual_seed(2))
    ids[:, 0] = 2
    return ids


# -- a toy that answers each id by the next one


TOY_SPACE = CipherSpace(width=(4, 6), depth=(1, 2, 3), hidden=(3, 5, 8))
TOY_VOCAB_SIZE = 9


def toy_supernet(seed: int = 0, **config: object) -> Supernet:
    """All parameters away from their neutral values, so that every one of them counts."""
    sections = SupernetConfig(**{"router_hidden_dim": 8, **config})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    net = fresh_supernet(TOY_SPACE, TOY_VOCAB_SIZE, sections, seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def toy_ids() -> Tensor:
    """Ids (3, 5)."""
    return torch.randint(1, TOY_VOCAB_SIZE, (3, 5), generator=torch.Generator().manual_seed(1))
