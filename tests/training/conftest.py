import numpy as np
import pytest

from mosdeploy.space import SearchSpace
from mosdeploy.training.batches import Ragged, TokenizedPairs


@pytest.fixture
def vocab_size() -> int:
    return 16


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace(
        encoder_embed_dim=(12, 16),
        decoder_embed_dim=(8, 16),
        encoder_layers=(1, 2),
        decoder_layers=(1,),
        encoder_ffn_dim=(16, 32),
        decoder_ffn_dim=(16, 32),
        encoder_heads=(1, 2),
        decoder_self_heads=(1, 2),
        decoder_cross_heads=(1, 2),
        cross_span=(1, 2),
        qkv_dim=16,
        norm="pre",
    )


@pytest.fixture
def pairs(vocab_size: int) -> TokenizedPairs:
    """Sixty sentences of 1 to 6 pieces; the translation repeats the first piece once for each piece of the source."""
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, vocab_size, rng.integers(1, 7)).tolist() for _ in range(60)]
    return TokenizedPairs(Ragged.of(sources), Ragged.of([source[0]] * len(source) for source in sources), 0)
