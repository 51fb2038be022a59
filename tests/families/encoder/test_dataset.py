"""Texts as ids, batches of them, and their losses worked by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from encoder_task import encoder_config, sentences, trained_tokenizer
from torch import Tensor

from mosdeploy.config.encoder import EncoderRunConfig, TaskKind
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.families.encoder.dataset import (
    NO_TARGET,
    EncoderBatch,
    EncoderDataset,
    Masking,
    Objective,
    made_up_dataset,
    token_types,
    tokenize,
)
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.tokenizer import EncoderTokenizer

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> EncoderTokenizer:
    return trained_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def config_of(kind: TaskKind, **task: object) -> EncoderRunConfig:
    labels = {"labels": ["UI", "KEY"]} if kind == "tagging" else {}
    return encoder_config(kind=kind, **labels, **task)


def examples_of(kind: TaskKind, count: int) -> list[Example]:
    texts = sentences(count)
    if kind == "tagging":
        return [
            Example(text, words=tuple(text.split()), tags=(0, 1, 2, 3, 4, 0, 0)) for text in texts
        ]
    if kind in ("embedding", "masked-lm"):
        return [Example(text) for text in texts]
    return [Example(text, label=i % 2) for i, text in enumerate(texts)]


def teacher_outputs(dataset: EncoderDataset) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if dataset.objective.kind == "tagging":
        return [rng.normal(size=(length, 5)) for length in dataset.ids.lengths]
    return list(rng.normal(size=(len(dataset), 4)))


@pytest.mark.parametrize("with_teacher", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(
    tmp_path: Path, tokenizer: EncoderTokenizer, kind: TaskKind, with_teacher: bool
) -> None:
    dataset = tokenize(tokenizer, examples_of(kind, 20), config_of(kind))
    if with_teacher and kind != "masked-lm":
        dataset = dataset.with_teacher(teacher_outputs(dataset))
    dataset.save(tmp_path / "made" / "train.npy")
    again = EncoderDataset.open(tmp_path / "made" / "train.npy")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["train.npy"]
    rows = np.array([7, 3, 11])
    for name, wanted in vars(dataset.batch(rows)).items():
        found = getattr(again.batch(rows), name)
        assert torch.equal(found, wanted) if isinstance(wanted, torch.Tensor) else found == wanted
    assert (again.num_targets == dataset.num_targets).all()


@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_counted_before_a_batch_is_made(
    tokenizer: EncoderTokenizer, kind: TaskKind
) -> None:
    dataset = tokenize(tokenizer, examples_of(kind, 40), config_of(kind))
    batches = Batches(dataset, 128, seed=1)
    for step in range(2 * len(batches)):
        batch = batches[step]
        assert batch.num_targets == batches.num_targets(step) > 0
        if kind in ("tagging", "masked-lm"):
            assert (batch.labels != NO_TARGET).sum() == batch.num_targets
        else:
            assert batch.num_targets == len(batch.input_ids)
    assert sum(len(x.input_ids) for x in ordered_batches(dataset, 128)) == 40


def test_a_batch_by_hand(tokenizer: EncoderTokenizer) -> None:
    pair = Example("the red number", "is old", label=1)
    dataset = tokenize(tokenizer, [Example("old", label=0), pair], config_of("classification"))
    batch = dataset.batch(np.array([1, 0]))
    ids, mask, types = batch.inputs()
    pieces = [tokenizer.pieces(row.tolist()) for row in ids]
    assert pieces[0] == ["[CLS]", "the", "red", "number", "[SEP]", "is", "old", "[SEP]"]
    assert pieces[1] == ["[CLS]", "old", "[SEP]", *["[PAD]"] * 5]
    assert mask.tolist() == [[1] * 8, [1] * 3 + [0] * 5]
    assert types.tolist() == [[0] * 5 + [1] * 3, [0] * 8]
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    assert dataset.ids.lengths.tolist() == [3, 8]
    assert dataset.lengths.tolist() == [8, 8]
    assert dataset.lengths is dataset.lengths  # which each batch reads


def test_tags_stand_at_the_first_piece_of_each_word(tokenizer: EncoderTokenizer) -> None:
    words = ("the", "redold", "is", "new")
    example = Example(" ".join(words), words=words, tags=(0, 1, 0, 3))
    dataset = tokenize(tokenizer, [example], config_of("tagging"))
    pieces = tokenizer.pieces(dataset.ids[0].tolist())
    assert pieces == ["[CLS]", "the", "red", "##o", "##ld", "is", "new", "[SEP]"]
    no = NO_TARGET
    assert dataset.tags[0].tolist() == [no, 0, 1, no, no, 0, 3, no]
    assert dataset.num_targets.tolist() == [4]
    cut = tokenize(tokenizer, [example], config_of("tagging", max_tokens=4))
    assert cut.tags[0].tolist() == [no, 0, 1, no]


def test_outputs_of_a_teacher_go_with_their_rows(tokenizer: EncoderTokenizer) -> None:
    plain = tokenize(tokenizer, examples_of("tagging", 12), config_of("tagging"))
    outputs = teacher_outputs(plain)
    batch = plain.with_teacher(outputs).batch(np.array([5, 2]))
    assert batch.teacher is not None
    assert batch.teacher.shape == (2, batch.input_ids.shape[1], 5)
    for found, row in zip(batch.teacher, (5, 2), strict=True):
        assert found[: plain.ids.lengths[row]].numpy() == pytest.approx(outputs[row], abs=1e-6)
    vectors = tokenize(tokenizer, examples_of("embedding", 12), config_of("embedding"))
    taught = vectors.with_teacher(teacher_outputs(vectors)).batch(np.array([5, 2]))
    assert taught.teacher is not None
    assert taught.teacher.numpy() == pytest.approx(
        np.stack(teacher_outputs(vectors))[[5, 2]], abs=1e-6
    )


@pytest.mark.parametrize("input_len", [32, 30])  # which is padded to 32
@pytest.mark.parametrize("kind", KINDS)
def test_made_up_texts_fill_one_batch(kind: TaskKind, input_len: int) -> None:
    config = config_of(kind)
    workload = config.workload.model_copy(update={"input_len": input_len})
    config = config.model_copy(update={"workload": workload})
    dataset = made_up_dataset(config)
    (batch,) = ordered_batches(dataset, config.training.tokens_per_batch)
    assert batch.input_ids.shape == (64, 32)
    width = {"classification": 2, "regression": 1, "tagging": 5, "embedding": 8, "masked-lm": 96}
    rows = {"tagging": (64, 32), "masked-lm": (batch.num_targets,)}
    logits = torch.randn(*rows.get(kind, (64,)), width[kind])
    assert batch.loss(logits).isfinite()
    assert batch.losses(logits).shape == (64,)


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
    return batch_of(kind, labels, teacher, label_weight=0.3), logits


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


def test_regression_by_hand() -> None:
    batch = batch_of(
        "regression", torch.tensor([1.0, 2.0]), torch.tensor([[0.0], [4.0]]), label_weight=0.5
    )
    losses = batch.losses(torch.tensor([[3.0], [2.0]]))
    assert losses.tolist() == [0.5 * 4 + 0.5 * 9, 0.5 * 0 + 0.5 * 4]


def test_vectors_by_hand() -> None:
    batch = batch_of("embedding", None, torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert batch.losses(vectors).tolist() == pytest.approx([1 - 0.6, 2.0])


def test_types_change_after_the_first_separator() -> None:
    ids = torch.tensor([[2, 9, 3, 9, 3, 0], [2, 9, 9, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]])
    types = token_types(ids, mask, sep_id=3, num_types=2)
    assert types.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert token_types(ids, mask, sep_id=3, num_types=1).sum() == 0


MASKING = Masking(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=1000)
ROWS = np.arange(200)


def random_texts(count: int, length: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.integers(5, 1000, (count, length)).astype(np.int32)
    rows[:, 0] = 2
    rows[:, -1] = 3
    return list(rows)


def test_the_same_batch_hides_the_same_and_another_does_not() -> None:
    examples = random_texts(200, 22)
    first = MASKING.hide(examples, ROWS)
    again = MASKING.hide(examples, ROWS)
    other = MASKING.hide(examples, ROWS[::-1])
    assert all((a[0] == b[0]).all() for a, b in zip(first, again, strict=True))
    differing = [(a[1] != b[1]).any() for a, b in zip(first, other, strict=True)]
    assert sum(differing) > 190


def test_labels_are_what_was_hidden() -> None:
    examples = random_texts(200, 22)
    for ids, (shown, labels) in zip(examples, MASKING.hide(examples, ROWS), strict=True):
        hidden = labels != NO_TARGET
        assert hidden.sum() == MASKING.num_hidden(20) == 3
        assert not hidden[[0, -1]].any()
        assert (labels[hidden] == ids[hidden]).all()
        assert (shown[~hidden] == ids[~hidden]).all()


def test_shares_of_the_hidden_pieces() -> None:
    """Of 3000: 2400 masks, 300 random and 300 as they were, each within four standard errors."""
    examples = random_texts(1000, 22)
    hidden = MASKING.hide(examples, np.arange(1000))
    shown = np.concatenate([ids[labels != NO_TARGET] for ids, labels in hidden])
    wanted = np.concatenate([labels[labels != NO_TARGET] for _, labels in hidden])
    assert len(shown) == 3000
    assert abs((shown == 4).sum() - 2400) < 88
    assert abs((shown == wanted).sum() - 300) < 66


def test_numbers_of_hidden_pieces_by_hand() -> None:
    found = MASKING.num_hidden([0, 1, 3, 10, 12, 100])
    assert found.tolist() == [0, 1, 1, 2, 2, 15]
