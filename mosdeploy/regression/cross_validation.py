"""Which rows each model of a cross-validation is judged by."""

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def folds(num_rows: int, num_folds: int) -> list[IndexArray]:
    """Split rows into folds of nearly equal size, always in the same way."""
    # imported here, for it takes longer than most commands
    from sklearn.model_selection import KFold

    # always the same seed: models that are compared are judged on the same folds
    splitter = KFold(num_folds, shuffle=True, random_state=0)
    return [held_out for _, held_out in splitter.split(np.empty((num_rows, 1)))]
