"""IBM model 1 on made-up languages whose words stand for one another."""

import numpy as np
import pytest
from scipy import sparse
from word_pairs import WORDS_VOCAB_SIZE, word_pairs

from mosdeploy.data.ragged import Ragged
from mosdeploy.families.translation import lexicon
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.lexicon import largest_of_rows, lexical_probabilities


def test_each_word_finds_its_translation() -> None:
    table = lexical_probabilities(word_pairs(300, 0), WORDS_VOCAB_SIZE).toarray()
    assert table[4:20].argmax(axis=1).tolist() == list(range(24, 40))
    sums = table.sum(axis=1)
    assert sums[3:20] == pytest.approx(1)  # 3: the end of every source, the empty word
    assert not sums[20:].any() and not sums[:3].any()


def test_one_iteration_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 5 is 24 25, and 4 is 24; at first each of a word's candidates is as likely."""
    monkeypatch.setattr(lexicon, "NUM_ITERATIONS", 1)
    pairs = TranslationDataset(Ragged.of([[4, 5], [4]]), Ragged.of([[24, 25], [24]]))
    table = lexical_probabilities(pairs, WORDS_VOCAB_SIZE).toarray()
    # 24 is shared by 4, 5 and the empty word, 1/3 each, then by two of them, 1/2 each; 25 in thirds
    assert table[4, [24, 25]] == pytest.approx([5 / 7, 2 / 7])
    assert table[5, [24, 25]] == pytest.approx([1 / 2, 1 / 2])


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = word_pairs(50, 1)
    whole = lexical_probabilities(pairs, WORDS_VOCAB_SIZE).toarray()
    monkeypatch.setattr(lexicon, "_PAIRS_AT_A_TIME", 7)
    monkeypatch.setattr(lexicon, "_TOKENS_AT_A_TIME", 3)
    assert lexical_probabilities(pairs, WORDS_VOCAB_SIZE).toarray() == pytest.approx(
        whole, abs=1e-6
    )


def test_of_equal_values_the_lower_columns_are_kept() -> None:
    matrix = sparse.csr_matrix(np.array([[1.0, 3, 1, 2], [0, 0, 5, 0]]))
    kept = largest_of_rows(matrix, 3).toarray()
    assert kept.tolist() == [[1, 3, 0, 2], [0, 0, 5, 0]]
