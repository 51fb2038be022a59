import numpy as np
import pytest
from bundles import sentences
from scipy import sparse

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig
from mosdeploy.data.batches import Ragged
from mosdeploy.families.translation import shortlist as lexicon
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.shortlist import (
    Shortlist,
    TranslationGraphOptions,
    graph_options,
    largest_of_rows,
    lexical_probabilities,
)
from mosdeploy.families.translation.tokenizer import EOS_ID, PAD_ID, Tokenizer, train_tokenizer
from mosdeploy.family import TaskData
from mosdeploy.spaces.translation import TranslationWorkload

WORDS_VOCAB_SIZE = 40


def word_pairs(count: int, seed: int) -> TranslationDataset:
    """Random words from 4 to 19, each translated by itself plus 20, in any order."""
    rng = np.random.default_rng(seed)
    sources = [rng.integers(4, 20, rng.integers(1, 6)) for _ in range(count)]
    return TranslationDataset(
        Ragged.of(sources), Ragged.of(rng.permutation(row) + 20 for row in sources)
    )


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


PAIRS = tuple((text, text) for text in sentences(200, 0))


SHORT = TranslationWorkload(source_len=8, decode_steps=8)


def options_of(
    tokenizer: Tokenizer, workload: TranslationWorkload = SHORT, **limits: float
) -> TranslationGraphOptions:
    config = load_recipe("tiny").model_copy(update={"export": TranslationExportConfig(**limits)})
    corpus = TaskData(PAIRS, PAIRS[:1], (), {}, "")
    return graph_options(config, workload, corpus, tokenizer)


def test_positions_penalty_and_shortlist_follow_the_config_and_workload(tmp_path) -> None:
    train_tokenizer(PAIRS, 64, tmp_path / "tokenizer.model")
    tokenizer = Tokenizer(tmp_path / "tokenizer.model")
    # positions serve the end token too
    assert options_of(tokenizer, max_source_len=20, max_decode_steps=20).max_positions == 21
    assert options_of(tokenizer, max_source_len=20, max_decode_steps=30).max_positions == 30
    # a bundle is timed with as many tokens as the workload has
    limits = {"max_source_len": 20, "max_decode_steps": 20}
    for update in ({"source_len": 40}, {"decode_steps": 40}):
        workload = SHORT.model_copy(update=update)
        assert options_of(tokenizer, workload, **limits).max_positions == 40
    assert options_of(tokenizer, length_penalty=1.5).length_penalty == 1.5
    assert options_of(tokenizer).shortlist is None
    learned = options_of(tokenizer, SHORT.model_copy(update={"shortlist": 5})).shortlist
    assert learned is not None
    assert learned.table.shape == (64, 5) and learned.frequent.shape == (10,)
