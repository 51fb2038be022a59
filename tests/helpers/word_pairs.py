"""Sentence pairs of two made-up languages whose words stand for one another."""

import numpy as np

from mosdeploy.data.ragged import Ragged
from mosdeploy.families.translation.dataset import TranslationDataset

WORDS_VOCAB_SIZE = 40


def word_pairs(count: int, seed: int) -> TranslationDataset:
    """Random words from 4 to 19, each translated by itself plus 20, in any order."""
    rng = np.random.default_rng(seed)
    sources = [rng.integers(4, 20, rng.integers(1, 6)) for _ in range(count)]
    return TranslationDataset(
        Ragged.of(sources), Ragged.of(rng.permutation(row) + 20 for row in sources)
    )
