from pathlib import Path

import numpy as np
import pytest
import torch

from mosdeploy.data.batches import Ragged, ordered_batches
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.dataset import TranslationDataset, made_up_dataset, tokenize
from mosdeploy.families.translation.tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    Tokenizer,
    train_tokenizer,
)

TWO = TranslationDataset(Ragged.of([[10, 11], [12]]), Ragged.of([[20], [21, 22, 23]]))


def random_pairs(count: int) -> TranslationDataset:
    rng = np.random.default_rng(0)

    def rows() -> list[list[int]]:
        return [rng.integers(4, 1000, rng.integers(1, 30)).tolist() for _ in range(count)]

    return TranslationDataset(Ragged.of(rows()), Ragged.of(rows()))


def test_hand_worked_batch() -> None:
    (batch,) = ordered_batches(TWO, tokens_per_batch=8)
    assert batch.src.tolist() == [[10, 11, EOS_ID], [12, EOS_ID, PAD_ID]]
    assert batch.prev.tolist() == [[BOS_ID, 20, PAD_ID, PAD_ID], [BOS_ID, 21, 22, 23]]
    assert batch.target.tolist() == [[20, EOS_ID, PAD_ID, PAD_ID], [21, 22, 23, EOS_ID]]
    assert batch.num_targets == 6
    assert batch.src.dtype == torch.int64
    assert [len(batch.src) for batch in ordered_batches(TWO, tokens_per_batch=7)] == [1, 1]


def test_lengths_by_hand() -> None:
    assert TWO.lengths.tolist() == [3, 4]
    assert TWO.tie_lengths.tolist() == [2, 1]
    assert TWO.num_targets.tolist() == [2, 4]


def test_losses_by_hand() -> None:
    """The end is foretold with probability 3/4 after `20`; all else is even over four tokens."""
    pairs = TranslationDataset(Ragged.of([[3]]), Ragged.of([[1]]))
    batch = pairs.batch(np.array([0]))
    logits = torch.zeros(1, 2, 4)
    logits[0, 1, EOS_ID] = np.log(9)  # 9 / 12
    wanted = np.log(4) + np.log(4 / 3)
    assert batch.losses(logits).tolist() == pytest.approx([wanted])
    assert batch.loss(logits).item() == pytest.approx(wanted)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    pairs = random_pairs(50)
    path = tmp_path / "made" / "train.npy"
    for _ in range(2):  # over an older file too
        pairs.save(path)
    again = TranslationDataset.open(path)
    for side in ("sources", "targets"):
        wanted = getattr(pairs, side)
        assert np.array_equal(getattr(again, side).flat, wanted.flat)
        assert np.array_equal(getattr(again, side).offsets, wanted.offsets)
    assert [file.name for file in path.parent.iterdir()] == ["train.npy"]


def test_tokenize_leaves_out_what_is_too_long(tmp_path: Path) -> None:
    words = ["open", "the", "big", "old", "house", "by", "a", "lake"]
    text = [(f"{a} {b}", f"{b} {a}") for a in words for b in words]
    train_tokenizer(text, 26, tmp_path / "t.model")
    tokenizer = Tokenizer(tmp_path / "t.model")
    text = [*text, ("open " * 50, "house")]
    short = tokenize(tokenizer, text, max_tokens=20)
    assert len(short) == len(text) - 1
    assert short.sources[3].tolist() == tokenizer.encode(text[3][0])
    assert short.targets[3].tolist() == tokenizer.encode(text[3][1])
    with pytest.raises(ConfigError, match=r"none of 1 pairs has at most corpus.max_tokens = 20"):
        tokenize(tokenizer, text[-1:], max_tokens=20)


def test_made_up_pairs_fill_one_batch() -> None:
    pairs = made_up_dataset(vocab_size=16, num_tokens=7, tokens_per_batch=64)
    (batch,) = ordered_batches(pairs, 64)
    assert batch.src.shape == batch.target.shape == (8, 8)
    assert batch.num_targets == 64
    assert batch.prev[:, 1:].min() > EOS_ID


def test_divergence_by_hand_leaves_padding_out() -> None:
    """One target token and the end against a teacher that is sure; the padding would add more."""
    (batch,) = ordered_batches(TWO, tokens_per_batch=8)
    shape = (*batch.target.shape, 24)
    uniform = torch.zeros(shape)
    sure = torch.zeros(shape)
    sure[..., 5] = 100.0
    # a uniform student needs log V nats for each of 2 + 4 targets that the teacher is sure of
    assert batch.divergence(uniform, sure).item() == pytest.approx(6 * np.log(24), rel=1e-5)
    assert batch.divergence(sure, sure).item() == pytest.approx(0, abs=1e-5)
