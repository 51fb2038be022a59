"""Splits by hash: shares, and that they do not depend on what else there is."""

from mosdeploy.data.splits import split_by_hash


def test_shares_and_order() -> None:
    splits = split_by_hash(range(2000), str, valid_share=0.1, test_share=0.2)
    assert sorted(x for split in splits for x in split) == list(range(2000))
    assert all(split == sorted(split) for split in splits)
    train, valid, test = (len(split) for split in splits)
    # within four standard errors
    assert abs(valid - 200) < 54 and abs(test - 400) < 72 and train > 1200
    assert [len(x) for x in split_by_hash(range(9), str, 0.0, 0.0)] == [9, 0, 0]


def test_more_examples_and_equal_keys_change_nothing() -> None:
    def key(number: int) -> str:
        return str(number // 2)

    few = split_by_hash(range(0, 400, 2), key, 0.2, 0.2)
    many = split_by_hash(range(600), key, 0.2, 0.2)
    for some, more in zip(few, many, strict=True):
        assert set(some) < set(more)
        assert {x + 1 for x in some} < set(more)
