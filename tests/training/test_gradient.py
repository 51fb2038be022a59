import numpy as np
import pytest
import torch
from supernet_fixtures import TOY_SPACE, TOY_VOCAB_SIZE, toy_supernet
from training_fixtures import CopyDataset, random_rows

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.data.batches import Batches
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.supernet.supernet import Supernet, extract
from mosdeploy.training.device import DeviceContext
from mosdeploy.training.distributed import SINGLE_PROCESS, DistributedContext
from mosdeploy.training.gradient import Gradient, batch_indices, num_batches, sandwich

CONFIG = TrainingConfig(
    grad_accum_steps=2, num_random_archs=2, compute="cpu", label_smoothing=0.1, seed=3
)
BATCHES = Batches(random_rows(60, TOY_VOCAB_SIZE), tokens_per_batch=60, seed=1)


def gradient(
    net: Supernet | Subnet,
    config: TrainingConfig = CONFIG,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> Gradient:
    context = DeviceContext.of(config)
    return Gradient(net, config, context, context.scaler(), distributed)


def without_dropout() -> Supernet:
    return toy_supernet(dropout=0.0)


@pytest.mark.parametrize(
    ("sharing", "read"),
    [("shared", [(4, 5)] * 4), ("none", [(16, 17), (18, 19), (20, 21), (22, 23)])],
)
def test_the_mean_over_architectures_and_targets(sharing: str, read: list[tuple[int, int]]) -> None:
    """In step 3, against the definition: one mean over all targets of all architectures."""
    config = CONFIG.model_copy(update={"batch_sharing": sharing})
    reference = without_dropout()
    losses = []
    for arch, indices in zip(sandwich(TOY_SPACE, config, step=3), read, strict=True):
        for batch in (BATCHES[i] for i in indices):
            log_p = reference(batch.inputs(), arch).log_softmax(-1)  # (B, L, V)
            chosen = log_p.gather(2, batch.ids[:, :, None])[:, :, 0]  # (B, L)
            smoothed = -(0.9 * chosen + 0.1 * log_p.mean(-1))  # (B, L)
            losses.append(smoothed[batch.ids != 0])
    wanted = torch.cat(losses).mean()
    wanted.backward()

    net = without_dropout()
    loss, num_targets = gradient(net, config).add_up(BATCHES, step=3)
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    indices = {i for part in read for i in part}
    assert num_targets == sum(BATCHES.num_targets(i) for i in indices)
    for mine, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-4)


def test_a_subnet_alone_takes_the_mean_over_targets() -> None:
    subnet = extract(without_dropout(), TOY_SPACE.largest)
    twin = extract(without_dropout(), TOY_SPACE.largest)
    loss, num_targets = gradient(subnet).add_up(BATCHES, step=2)
    batches = [BATCHES[2], BATCHES[3]]
    assert num_targets == sum(batch.num_targets for batch in batches)
    wanted = sum(batch.loss(twin(*batch.inputs()), 0.1) for batch in batches) / num_targets
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    for mine, theirs in zip(subnet.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-6, rtol=1e-4)


def test_a_step_whose_texts_have_no_targets_changes_nothing() -> None:
    dataset = CopyDataset([[0, 0, 0]] * 40)  # the padding's id
    dataset.num_targets = np.zeros(40, dtype=np.int64)
    subnet = extract(without_dropout(), TOY_SPACE.largest)
    batches = Batches(dataset, tokens_per_batch=60, seed=1)
    assert gradient(subnet).add_up(batches, step=1) == (0.0, 0)
    assert all(p.grad is None or not p.grad.any() for p in subnet.parameters())


def test_the_shares_of_ranks_add_up_to_the_whole() -> None:
    """With dropout: what a batch draws does not depend on who reads it."""

    class Unconnected(DistributedContext):
        def all_reduce(self, tensors: object) -> None:
            """Leave each rank's part as it is, to be added up below."""

    whole = toy_supernet(dropout=0.3)
    loss, _ = gradient(whole).add_up(BATCHES, step=1)
    parts = [toy_supernet(dropout=0.3) for _ in range(2)]
    losses = [
        gradient(net, distributed=Unconnected(rank, 2)).add_up(BATCHES, step=1)[0]
        for rank, net in enumerate(parts)
    ]
    assert sum(losses) == pytest.approx(loss, rel=1e-5)
    first, second = parts
    for a, b, both in zip(first.parameters(), second.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a.grad + b.grad, both.grad, atol=1e-6, rtol=1e-4)


NINE_STEPS = TrainingConfig(steps=9, grad_accum_steps=2, learning_rate=5e-3, warmup_steps=3)


def test_no_batch_is_passed_over() -> None:
    own = NINE_STEPS.model_copy(update={"batch_sharing": "none"})
    shared = NINE_STEPS.model_copy(update={"batch_sharing": "shared"})

    def first_two_steps(config: TrainingConfig, num_archs: int) -> list[list[int]]:
        return [list(part) for step in (1, 2) for part in batch_indices(config, num_archs, step)]

    assert first_two_steps(own, 3) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert first_two_steps(shared, 2) == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert (num_batches(own, 3), num_batches(shared, 3)) == (6, 2)


def test_the_sandwich_is_drawn_for_the_step() -> None:
    def drawn(step: int, **changes: object) -> list[ArchConfig]:
        return sandwich(TOY_SPACE, NINE_STEPS.model_copy(update=changes), step)

    extremes = [TOY_SPACE.largest, TOY_SPACE.smallest]
    assert drawn(5, num_random_archs=0) == extremes
    assert drawn(5, num_random_archs=3, seed=-1) == drawn(5, num_random_archs=3, seed=-1)
    assert len({drawn(step, num_random_archs=1)[2] for step in range(30)}) > 15
    random = drawn(5, num_random_archs=2)[2:]
    assert drawn(5, num_random_archs=2, sandwich="largest") == [TOY_SPACE.largest, *random]
    assert drawn(5, num_random_archs=2, sandwich="none") == random
    assert drawn(5, num_random_archs=2, sandwich="smallest") == [TOY_SPACE.smallest, *random]
    assert drawn(8, num_random_archs=0, sandwich="smallest") == [TOY_SPACE.largest]
