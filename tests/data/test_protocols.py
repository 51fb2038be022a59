"""What every dataset and its batches promise, whichever family they are of."""

import numpy as np
import pytest
import torch
from training_fixtures import CopyDataset, repeating_pairs

from mosdeploy.data.protocols import Dataset

DATASETS = [CopyDataset([[1, 2, 3], [4], [5, 6]]), repeating_pairs()]
ROWS = np.array([2, 0])


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: type(dataset).__name__)
def test_rows_add_up_to_the_batch(dataset: Dataset) -> None:
    batch = dataset.batch(ROWS)
    assert batch.num_targets == dataset.num_targets[ROWS].sum()
    assert all(len(part) == 2 for part in batch.inputs())
    assert max(part.shape[1] for part in batch.inputs()) == dataset.lengths[ROWS].max()
    for lengths in (dataset.lengths, dataset.tie_lengths, dataset.num_targets):
        assert (lengths.shape, lengths.dtype) == ((len(dataset),), np.int64)


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: type(dataset).__name__)
def test_losses_of_examples_add_up_to_the_loss(dataset: Dataset) -> None:
    batch = dataset.batch(ROWS)
    length = batch.inputs()[-1].shape[1]
    logits = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(0))
    losses = batch.losses(logits)
    assert (losses.shape, losses.dtype) == ((2,), torch.float64)
    assert batch.loss(logits).item() == pytest.approx(losses.sum().item(), rel=1e-6)
    # an example's loss does not depend on the padding that a longer neighbour brings
    alone = dataset.batch(ROWS[:1])
    short = logits[:1, : alone.inputs()[-1].shape[1]]
    assert alone.losses(short).item() == pytest.approx(losses[0].item(), rel=1e-6)
    even = torch.zeros_like(logits)
    for smoothing in (0.0, 0.1):
        nats = batch.num_targets * np.log(16)
        assert batch.loss(even, smoothing).item() == pytest.approx(nats, rel=1e-6)
