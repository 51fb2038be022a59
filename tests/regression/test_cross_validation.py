import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.regression.cross_validation import folds


@given(st.integers(2, 60), st.data())
def test_every_row_is_held_out_once(num_rows, data):
    num_folds = data.draw(st.integers(2, num_rows))
    found = folds(num_rows, num_folds)
    assert len(found) == num_folds
    assert sorted(np.concatenate(found)) == list(range(num_rows))
    sizes = [len(held_out) for held_out in found]
    assert max(sizes) - min(sizes) <= 1


def test_the_same_folds_are_drawn_again():
    first, again = folds(50, 10), folds(50, 10)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_neighbours_are_shuffled():
    found = folds(50, 10)
    assert any(np.diff(held_out).max() > 1 for held_out in found)


def test_more_folds_than_rows_are_refused():
    with pytest.raises(ValueError, match="greater than the number of samples"):
        folds(3, 4)
