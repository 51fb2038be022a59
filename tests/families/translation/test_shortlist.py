import numpy as np
import pytest
from word_pairs import WORDS_VOCAB_SIZE, word_pairs

from mosdeploy.families.translation.shortlist import Shortlist
from mosdeploy.families.translation.tokenizer import EOS_ID, PAD_ID
from mosdeploy.spaces.translation_workload import TranslationWorkload


@pytest.fixture(scope="module")
def shortlist() -> Shortlist:
    return Shortlist.learn(word_pairs(300, 0), WORDS_VOCAB_SIZE, num_tokens=2, num_frequent=3)


def test_a_word_lists_its_translation_and_itself(shortlist: Shortlist) -> None:
    frequent = set(shortlist.frequent)
    for i in range(4, 20):
        row = set(shortlist.table[i])
        assert i in row
        assert (i + 20 in row) != (i + 20 in frequent)
    # never seen as a source: nothing but the token itself
    assert set(shortlist.table[30]) == {EOS_ID, 30}


def test_the_end_is_the_first_of_the_frequent(shortlist: Shortlist) -> None:
    targets = word_pairs(300, 0).targets.flat
    most = np.argsort(-np.bincount(targets), kind="stable")[:2]
    assert shortlist.frequent.tolist() == [EOS_ID, *most]


def test_padding_allows_nothing_more(shortlist: Shortlist) -> None:
    alone = shortlist.allowed(np.array([[4, 7, EOS_ID]]))
    padded = shortlist.allowed(np.array([[4, 7, EOS_ID, PAD_ID], [9, 9, 9, EOS_ID]]))
    assert (padded[0] == alone[0]).all()
    assert padded[0, [24, 27, 4, 7, EOS_ID]].all() and not padded[1, [24, 27]].all()
    assert not padded[0, PAD_ID]


def test_a_made_up_one_is_as_large_as_is_reckoned_with() -> None:
    workload = TranslationWorkload(source_len=10, shortlist=20)
    made_up = Shortlist.made_up(32_000, 20, workload.num_frequent)
    source = np.random.default_rng(0).permutation(32_000)[None, :10]
    num_allowed = made_up.allowed(source).sum()
    assert workload.num_scored(32_000) == 40 + 10 * 10
    assert workload.num_scored(32_000) - 3 <= num_allowed <= workload.num_scored(32_000)
