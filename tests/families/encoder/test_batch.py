"""Losses of a batch: what they are sums of, and numbers worked by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mosdeploy.config.encoder import TaskKind
from mosdeploy.families.encoder.dataset import NO_TARGET, EncoderBatch, Objective, token_types

KINDS: list[TaskKind] = ["classification", "regression", "tagging", "embedding", "masked-lm"]


def batch_of(
    kind: TaskKind, labels: Tensor | None, teacher: Tensor | None = None, **objective: float
) -> EncoderBatch:
    ids = torch.zeros(2, 3, dtype=torch.long)
    return EncoderBatch(ids, ids, ids, labels, teacher, 2, Objective(kind, **objective))


def random_case(kind: TaskKind) -> tuple[EncoderBatch, Tensor]:
    """Two texts of three pieces, four outputs each, with a teacher where there can be one."""
    torch.manual_seed(0)
    of_pieces = kind in ("tagging", "masked-lm")
    width = 1 if kind == "regression" else 4
    logits = torch.randn(2, 3, width) if of_pieces else torch.randn(2, width)
    labels: Tensor | None = torch.tensor([1, 3])
    if kind == "regression":
        labels = torch.tensor([0.5, 2.0])
    elif kind == "embedding":
        labels = None
    elif of_pieces:
        labels = torch.tensor([[1, NO_TARGET, 2], [NO_TARGET, 0, NO_TARGET]])
    if kind == "masked-lm":  # of the hidden pieces alone
        logits = torch.randn(3, width)
    teacher = None if kind == "masked-lm" else torch.randn_like(logits)
    return batch_of(kind, labels, teacher, label_weight=0.3, temperature=2.0), logits


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_sum_of_the_texts(kind: TaskKind) -> None:
    batch, logits = random_case(kind)
    losses = batch.losses(logits)
    assert losses.shape == (2,)
    assert losses.dtype == torch.float64
    assert batch.loss(logits).item() == pytest.approx(losses.sum().item())
    assert (losses > 0).all()


def test_hidden_pieces_count_for_their_texts() -> None:
    batch, logits = random_case("masked-lm")
    assert batch.hidden is not None
    assert batch.hidden.tolist() == [0, 2, 4]
    nats = [-row.log_softmax(-1)[i].item() for row, i in zip(logits, (1, 2, 0), strict=True)]
    assert batch.losses(logits).tolist() == pytest.approx([nats[0] + nats[1], nats[2]])


@pytest.mark.parametrize("kind", ["classification", "regression", "tagging"])
def test_labels_and_teacher_share_the_loss(kind: TaskKind) -> None:
    batch, logits = random_case(kind)

    def loss(weight: float) -> float:
        objective = replace(batch.objective, label_weight=weight)
        return batch.__class__(**{**vars(batch), "objective": objective}).loss(logits).item()

    assert loss(0.3) == pytest.approx(0.3 * loss(1.0) + 0.7 * loss(0.0))
    assert loss(1.0) == pytest.approx(replace(batch, teacher=None).loss(logits).item())


@pytest.mark.parametrize("kind", ["classification", "regression", "tagging", "embedding"])
def test_a_student_like_its_teacher_has_no_loss(kind: TaskKind) -> None:
    batch, logits = random_case(kind)
    copied = replace(batch, teacher=logits, objective=replace(batch.objective, label_weight=0.0))
    assert copied.loss(logits).item() == pytest.approx(0, abs=1e-6)


def test_classification_by_hand() -> None:
    """Probabilities 3/4 and 1/4 of the student, 1/2 and 1/2 of the teacher."""
    logits = torch.tensor([[math.log(3), 0.0]])
    label = torch.tensor([0])
    alone = batch_of("classification", label)
    assert alone.loss(logits).item() == pytest.approx(math.log(4 / 3))
    # all of the mass is smoothed by 0.2: 0.9 on the class, 0.1 on the other
    smoothed = -0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    assert alone.loss(logits, label_smoothing=0.2).item() == pytest.approx(smoothed)
    taught = batch_of("classification", label, torch.zeros(1, 2), label_weight=0.25)
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    wanted = 0.25 * math.log(4 / 3) + 0.75 * divergence
    assert taught.loss(logits).item() == pytest.approx(wanted)
    # at temperature 2 the student has odds of 3 to 1 from logits twice as far apart
    warm = batch_of("classification", label, torch.zeros(1, 2), label_weight=0.0, temperature=2.0)
    assert warm.loss(2 * logits).item() == pytest.approx(4 * divergence)


def test_regression_by_hand() -> None:
    batch = batch_of(
        "regression", torch.tensor([1.0, 2.0]), torch.tensor([[0.0], [4.0]]), label_weight=0.5
    )
    losses = batch.losses(torch.tensor([[3.0], [2.0]]))
    assert losses.tolist() == [0.5 * 4 + 0.5 * 9, 0.5 * 0 + 0.5 * 4]


def test_tags_are_judged_where_there_are_labels() -> None:
    batch, logits = random_case("tagging")
    assert batch.labels is not None and batch.teacher is not None
    changed = logits.clone()
    changed[batch.labels == NO_TARGET] += torch.randn(3, 4)
    assert batch.loss(changed).item() == pytest.approx(batch.loss(logits).item())
    even = torch.zeros(2, 3, 4)
    alone = replace(batch, teacher=None)
    assert alone.losses(even).tolist() == pytest.approx([2 * math.log(4), math.log(4)])


def test_vectors_by_hand() -> None:
    batch = batch_of("embedding", None, torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert batch.losses(vectors).tolist() == pytest.approx([1 - 0.6, 2.0])
    with pytest.raises(ValueError, match="a teacher's vectors"):
        batch_of("embedding", None).loss(vectors)


def test_types_change_after_the_first_separator() -> None:
    ids = torch.tensor([[2, 9, 3, 9, 3, 0], [2, 9, 9, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]])
    types = token_types(ids, mask, sep_id=3, num_types=2)
    assert types.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert token_types(ids, mask, sep_id=3, num_types=1).sum() == 0


def test_a_batch_stays_on_the_processor() -> None:
    batch, _ = random_case("tagging")
    assert batch.to(torch.device("cpu")) is batch
