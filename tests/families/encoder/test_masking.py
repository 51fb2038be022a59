"""Hidden pieces: how many, which, and that a batch always hides the same."""

import numpy as np

from mosdeploy.families.encoder.dataset import NO_TARGET, Masking

MASKING = Masking(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=1000)
ROWS = np.arange(200)


def texts(count: int, length: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.integers(5, 1000, (count, length)).astype(np.int32)
    rows[:, 0] = 2
    rows[:, -1] = 3
    return list(rows)


def test_the_same_batch_hides_the_same_and_another_does_not() -> None:
    examples = texts(200, 22)
    first = MASKING.hide(examples, ROWS)
    again = MASKING.hide(examples, ROWS)
    other = MASKING.hide(examples, ROWS[::-1])
    assert all((a[0] == b[0]).all() for a, b in zip(first, again, strict=True))
    differing = [(a[1] != b[1]).any() for a, b in zip(first, other, strict=True)]
    assert sum(differing) > 190


def test_labels_are_what_was_hidden() -> None:
    examples = texts(200, 22)
    for ids, (shown, labels) in zip(examples, MASKING.hide(examples, ROWS), strict=True):
        hidden = labels != NO_TARGET
        assert hidden.sum() == MASKING.num_hidden(20) == 3
        assert not hidden[[0, -1]].any()
        assert (labels[hidden] == ids[hidden]).all()
        assert (shown[~hidden] == ids[~hidden]).all()


def test_shares_of_the_hidden_pieces() -> None:
    """Of 3000: 2400 masks, 300 random and 300 as they were, each within four standard errors."""
    examples = texts(1000, 22)
    hidden = MASKING.hide(examples, np.arange(1000))
    shown = np.concatenate([ids[labels != NO_TARGET] for ids, labels in hidden])
    wanted = np.concatenate([labels[labels != NO_TARGET] for _, labels in hidden])
    assert len(shown) == 3000
    assert abs((shown == 4).sum() - 2400) < 88
    assert abs((shown == wanted).sum() - 300) < 66


def test_numbers_of_hidden_pieces_by_hand() -> None:
    found = MASKING.num_hidden([0, 1, 3, 10, 12, 100])
    assert found.tolist() == [0, 1, 1, 2, 2, 15]


def test_a_text_of_special_ids_hides_nothing() -> None:
    ((shown, labels),) = MASKING.hide([np.array([2, 3], np.int32)], np.array([0]))
    assert shown.tolist() == [2, 3]
    assert (labels == NO_TARGET).all()
