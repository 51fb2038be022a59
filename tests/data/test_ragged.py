import numpy as np
import torch

from mosdeploy.data.batches import pad_rows
from mosdeploy.data.ragged import Ragged


def test_ragged_rows_come_back() -> None:
    rows = [[1, 2], [], [3]]
    packed = Ragged.concatenate([Ragged.of(rows), Ragged.of([]), Ragged.of([[4]])])
    assert [packed[i].tolist() for i in range(len(packed))] == [*rows, [4]]
    assert packed.lengths.tolist() == [2, 0, 1, 1]
    assert (packed.flat.dtype, packed.offsets.dtype) == (np.int32, np.int64)
    assert len(Ragged.concatenate([])) == 0


def test_pad_rows_by_hand() -> None:
    padded = pad_rows([[5], [6, 7]])
    assert padded.tolist() == [[5, 0], [6, 7]]
    assert padded.dtype == torch.int64
    assert pad_rows([[5], [6, 7]], fill=-100).tolist() == [[5, -100], [6, 7]]
