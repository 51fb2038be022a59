import numpy as np
import pytest
from example_spaces import SMALL

from mosdeploy.families.translation.dataset import Ragged, TokenizedPairs
from mosdeploy.spaces.translation import TranslationSpace


@pytest.fixture
def vocab_size() -> int:
    return 16


@pytest.fixture
def space() -> TranslationSpace:
    return SMALL


@pytest.fixture
def pairs(vocab_size: int) -> TokenizedPairs:
    """Sixty sentences of 1 to 6 pieces; the translation repeats the first piece once for each piece
    of the source.
    """
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, vocab_size, rng.integers(1, 7)).tolist() for _ in range(60)]
    return TokenizedPairs(
        Ragged.of(sources), Ragged.of([source[0]] * len(source) for source in sources), 0
    )
