import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from training_fixtures import CopyDataset, random_rows, repeating_pairs

from mosdeploy.data.batches import (
    Batches,
    Dataset,
    Ragged,
    cross_entropy,
    ordered_batches,
    ordered_groups,
    pad_rows,
)
from mosdeploy.errors import ConfigError


def rows_of(ids: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(token for token in row if token) for row in ids.tolist()]


def test_an_epoch_holds_every_example_once_in_bounds() -> None:
    dataset = random_rows(200)
    wanted = sorted(tuple(map(int, dataset.rows[i])) for i in range(200))
    batches = Batches(dataset, tokens_per_batch=128, seed=1)
    for epoch in range(3):
        seen = []
        for step in range(epoch * len(batches), (epoch + 1) * len(batches)):
            batch = batches[step]
            assert batch.ids.numel() <= 128
            assert batch.num_targets == batches.num_targets(step) == int((batch.ids != 0).sum())
            seen += rows_of(batch.ids)
        assert sorted(seen) == wanted


def test_a_step_does_not_depend_on_what_was_asked_before() -> None:
    dataset = random_rows(100)
    walked = Batches(dataset, 128, seed=5)
    jumped = Batches(dataset, 128, seed=5)
    last = 2 * len(walked) + 3
    for step in range(last):
        walked[step]
    assert torch.equal(walked[last].ids, jumped[last].ids)


def test_seeds_and_epochs_differ() -> None:
    dataset = random_rows(100)
    first = Batches(dataset, 128, seed=1)
    other = Batches(dataset, 128, seed=2)
    assert any(not torch.equal(first[i].ids, other[i].ids) for i in range(3))
    assert any(not torch.equal(first[i].ids, first[i + len(first)].ids) for i in range(3))
    assert len(first) == len(other)


def test_examples_of_like_second_length_share_a_batch() -> None:
    """Four examples of one length: 1 and 2 stand together, and 50 and 51, whatever the jitter."""
    dataset = CopyDataset([[1, 9], [50, 9], [2, 9], [51, 9]])
    for seed in range(5):
        batches = Batches(dataset, tokens_per_batch=4, seed=seed)
        firsts = [sorted(batches[i].ids[:, 0].tolist()) for i in range(len(batches))]
        assert sorted(firsts) == [[1, 2], [50, 51]]


def test_ordered_groups_by_hand() -> None:
    dataset = CopyDataset([[1] * 5, [1] * 2, [1] * 3, [1] * 2])
    groups = ordered_groups(dataset, np.array([0, 2, 3]), tokens_per_batch=6)
    assert [group.tolist() for group in groups] == [[3, 2], [0]]  # 2 * 3 fit, 3 * 5 do not
    batches = ordered_batches(dataset, tokens_per_batch=20)
    assert [batch.ids.shape for batch in batches] == [(4, 5)]
    assert [batch.num_targets for batch in batches] == [12]
    # the longest example may be longer than a batch
    batches = ordered_batches(dataset, tokens_per_batch=4)
    assert [batch.ids.shape for batch in batches] == [(2, 2), (1, 3), (1, 5)]


def test_a_batch_too_small_for_an_example_is_refused() -> None:
    dataset = random_rows(50)
    longest = int(dataset.lengths.max())
    assert len(Batches(dataset, longest, seed=1)) > 1
    message = rf"tokens_per_batch = {longest - 1} cannot hold .*\({longest} tokens"
    with pytest.raises(ConfigError, match=message):
        Batches(dataset, longest - 1, seed=1)
    with pytest.raises(ConfigError, match="no examples"):
        ordered_batches(CopyDataset([]), 100)


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


IGNORED = -100


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(40, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (40,), generator=generator)
    targets[::5] = IGNORED
    return logits.requires_grad_(), targets


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_losses_and_gradients_are_those_of_torch(label_smoothing: float) -> None:
    logits, targets = examples()
    wanted = F.cross_entropy(
        logits, targets, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="none"
    )
    found = cross_entropy(logits, targets, IGNORED, label_smoothing)
    torch.testing.assert_close(found, wanted)
    # each loss has a weight of its own
    weights = torch.rand(len(targets), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * wanted).sum(), logits)
    (own,) = torch.autograd.grad((weights * found).sum(), logits)
    torch.testing.assert_close(own, gradient)
    assert not own[targets == IGNORED].any()


def test_an_unlikely_target_has_a_finite_loss() -> None:
    logits = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    found = cross_entropy(logits, torch.tensor([0]), IGNORED)
    assert found.item() == 1000
    torch.autograd.backward([found.sum()])
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1.0, 1.0]]


def test_a_gradient_is_taken_once() -> None:
    logits, targets = examples()
    loss = cross_entropy(logits, targets, IGNORED).sum()
    torch.autograd.backward([loss], retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward([loss])


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
