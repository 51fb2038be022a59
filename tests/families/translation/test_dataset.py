from pathlib import Path

import numpy as np
import pytest
import torch
from training_fixtures import pairs, space, vocab_size  # noqa: F401

from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.dataset import (
    Batches,
    Ragged,
    TokenizedPairs,
    ordered_batches,
    pad_rows,
    tokenize,
)
from mosdeploy.families.translation.tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    Tokenizer,
    train_tokenizer,
)


def random_pairs(count: int, seed: int = 0) -> TokenizedPairs:
    rng = np.random.default_rng(seed)

    def rows() -> list[list[int]]:
        return [rng.integers(4, 1000, rng.integers(1, 30)).tolist() for _ in range(count)]

    return TokenizedPairs(Ragged.of(rows()), Ragged.of(rows()), 0)


def as_pairs(
    src: torch.Tensor, target: torch.Tensor
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    def strip(row: list[int]) -> tuple[int, ...]:
        return tuple(row[: row.index(EOS_ID)])

    return [(strip(s), strip(t)) for s, t in zip(src.tolist(), target.tolist(), strict=True)]


def test_an_epoch_holds_every_pair_once_within_the_bound() -> None:
    pairs = random_pairs(200)
    wanted = sorted(
        (tuple(map(int, pairs.sources[i])), tuple(map(int, pairs.targets[i]))) for i in range(200)
    )
    batches = Batches(pairs, tokens_per_batch=128, seed=1)
    for epoch in range(3):
        seen = []
        for step in range(len(batches)):
            batch = batches[epoch * len(batches) + step]
            assert len(batch.src) * max(batch.src.shape[1], batch.target.shape[1]) <= 128
            assert batch.num_tokens == int((batch.target != PAD_ID).sum())
            seen += as_pairs(batch.src, batch.target)
        assert sorted(seen) == wanted


def test_a_step_does_not_depend_on_what_was_asked_before() -> None:
    pairs = random_pairs(100)
    walked, jumped = Batches(pairs, 128, seed=5), Batches(pairs, 128, seed=5)
    last = 2 * len(walked) + 3
    for step in range(last):
        walked[step]
    for name in ("src", "prev", "target"):
        assert torch.equal(getattr(walked[last], name), getattr(jumped[last], name))


def test_seeds_and_epochs_differ() -> None:
    pairs = random_pairs(100)
    first, other = Batches(pairs, 128, seed=1), Batches(pairs, 128, seed=2)
    assert any(not torch.equal(first[i].src, other[i].src) for i in range(3))
    assert any(not torch.equal(first[i].src, first[i + len(first)].src) for i in range(3))
    assert len(first) == len(other)


def test_hand_worked_batch() -> None:
    pairs = TokenizedPairs(Ragged.of([[10, 11], [12]]), Ragged.of([[20], [21, 22, 23]]), 0)
    (batch,) = ordered_batches(pairs, tokens_per_batch=8)
    assert batch.src.tolist() == [[10, 11, EOS_ID], [12, EOS_ID, PAD_ID]]
    assert batch.prev.tolist() == [[BOS_ID, 20, PAD_ID, PAD_ID], [BOS_ID, 21, 22, 23]]
    assert batch.target.tolist() == [[20, EOS_ID, PAD_ID, PAD_ID], [21, 22, 23, EOS_ID]]
    assert batch.num_tokens == 6
    assert batch.src.dtype == torch.int64
    assert [len(batch.src) for batch in ordered_batches(pairs, tokens_per_batch=7)] == [1, 1]


def test_ragged_rows_come_back() -> None:
    rows = [[1, 2], [], [3]]
    packed = Ragged.concatenate([Ragged.of(rows), Ragged.of([]), Ragged.of([[4]])])
    assert [row.tolist() for row in (packed[i] for i in range(len(packed)))] == [*rows, [4]]
    assert packed.lengths.tolist() == [2, 0, 1, 1]


def test_pad_rows() -> None:
    assert pad_rows([[5], [6, 7]]).tolist() == [[5, PAD_ID], [6, 7]]


def test_tokenize_counts_what_is_too_long(tmp_path: Path) -> None:
    words = ["open", "the", "big", "old", "house", "by", "a", "lake"]
    text = [(f"{a} {b}", f"{b} {a}") for a in words for b in words]
    train_tokenizer(text, 26, tmp_path / "t.model")
    tokenizer = Tokenizer(tmp_path / "t.model")
    text = [*text, ("open " * 50, "house")]
    short = tokenize(tokenizer, text, max_tokens=20)
    assert (len(short), short.num_too_long) == (len(text) - 1, 1)
    assert short.sources[3].tolist() == tokenizer.encode(text[3][0])
    assert short.targets[3].tolist() == tokenizer.encode(text[3][1])
    with pytest.raises(ConfigError, match=r"none of 1 pairs has at most corpus.max_tokens = 20"):
        tokenize(tokenizer, text[-1:], max_tokens=20)


def test_a_batch_too_small_for_a_sentence_is_refused() -> None:
    pairs = random_pairs(50)
    longest = int(pairs.widths.max())
    assert len(Batches(pairs, longest, seed=1)) > 1
    with pytest.raises(
        ConfigError, match=rf"tokens_per_batch = {longest - 1} cannot hold .*\({longest} tokens"
    ):
        Batches(pairs, longest - 1, seed=1)
    with pytest.raises(ConfigError, match="no sentence pairs"):
        ordered_batches(TokenizedPairs(Ragged.of([]), Ragged.of([]), 0), 100)
