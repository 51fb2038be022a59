import numpy as np
import pytest
import torch
from torch import Tensor

from mosdeploy.spaces.translation import TranslationArch, TranslationSpace


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
    """Source ids (3, 6) over 20 pieces, padded by 0, 4 and 1 tokens."""
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
