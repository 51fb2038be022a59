"""Which rows each model of a cross-validation is judged by."""

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def folds(num_rows: int, num_folds: int) -> list[IndexArray]:
    """Split rows into folds of nearly equal size, always in the same way.

    The rows are shuffled, since neighbours in a file were measured in the same minute.

    Parameters
    ----------
    num_rows
        Number of rows, at least `num_folds`.
    num_folds
        Number of folds, at least 2; as many as there are rows leaves one out at a time.

    Returns
    -------
    Row indices of each fold, to be predicted by a model fitted to all other rows.

    Examples
    --------
    >>> [len(held_out) for held_out in folds(num_rows=7, num_folds=3)]
    [3, 2, 2]
    """
    # imported here, for it takes longer than most commands
    from sklearn.model_selection import KFold

    # always the same seed: models that are compared are judged on the same folds
    splitter = KFold(num_folds, shuffle=True, random_state=0)
    return [held_out for _, held_out in splitter.split(np.empty((num_rows, 1)))]
