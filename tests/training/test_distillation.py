"""A teacher in the loss: what it mixes, what it leaves alone, and that it teaches."""

from pathlib import Path

import pytest
import torch
from example_spaces import SMALL
from training_fixtures import CONFIG, NO_DROPOUT, log_of, repeating_pairs

from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.families.translation.elastic import fresh_subnet
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.training.gradient import Distillation
from mosdeploy.training.trainer import TrainingJob, train

VOCAB_SIZE = 16
PAIRS = repeating_pairs()
(BATCH,) = ordered_batches(PAIRS, 1000)


def subnet(space: TranslationSpace, seed: int) -> Subnet:
    return fresh_subnet(space.smallest, space, VOCAB_SIZE, NO_DROPOUT, seed)


@pytest.fixture
def space() -> TranslationSpace:
    return SMALL


def taught(
    student: Subnet, folder: Path, distillation: Distillation | None, **changes: float
) -> list[float]:
    """Losses of the steps of a training."""
    config = CONFIG.model_copy(update=changes)
    batches = Batches(PAIRS, config.tokens_per_batch, config.seed)
    paths = (folder / "state.pt", folder / "log.jsonl")
    job = TrainingJob(config, *paths, "x", distillation=distillation)
    train(student, batches, [BATCH], job)
    return [line["loss"] for line in log_of(folder)]


def test_the_mixture_by_its_definition(space: TranslationSpace) -> None:
    student = subnet(space, 1)
    teacher = subnet(space, 2)
    distillation = Distillation(teacher, weight=0.25)
    logits = student(*BATCH.inputs())
    said = distillation.logits(BATCH)
    assert torch.equal(said, teacher(*BATCH.inputs())) and not said.requires_grad
    expected = 0.75 * BATCH.loss(logits, 0.1) + 0.25 * BATCH.divergence(logits, said)
    assert torch.equal(distillation.loss(BATCH, logits, said, 0.1), expected)


def test_a_network_has_nothing_to_learn_from_itself(space: TranslationSpace) -> None:
    student = subnet(space, 1)
    logits = student(*BATCH.inputs())
    loss = Distillation(student, weight=1.0).loss(BATCH, logits, logits.detach(), 0.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-4)
    largest = max(float(x.grad.abs().max()) for x in student.parameters() if x.grad is not None)
    assert largest < 1e-4


def test_a_student_comes_closer_to_its_teacher(space: TranslationSpace, tmp_path: Path) -> None:
    teacher = subnet(space, 2)
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    student = subnet(space, 1)
    losses = taught(student, tmp_path, Distillation(teacher, weight=1.0), steps=30)
    assert losses[-1] < losses[0] / 2
    assert all(torch.equal(x, before[name]) for name, x in teacher.state_dict().items())


def test_the_loss_is_that_without_a_teacher_plus_its_share(
    space: TranslationSpace, tmp_path: Path
) -> None:
    """In the first step, where both networks still have the same weights."""
    alone = taught(subnet(space, 1), tmp_path / "alone", None, steps=1)
    teacher = subnet(space, 1)
    both = taught(subnet(space, 1), tmp_path / "both", Distillation(teacher, 0.5), steps=1)
    assert both[0] == pytest.approx(alone[0] / 2, rel=1e-4)
