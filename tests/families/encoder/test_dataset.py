"""Texts as ids: what is saved comes back, batches are what the rows say."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from encoder_task import encoder_config, sentences, trained_tokenizer

from mosdeploy.config.encoder import EncoderRunConfig, TaskKind
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.families.encoder.dataset import NO_TARGET, EncoderDataset, made_up_dataset, tokenize
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


def test_batches_are_padded_to_few_widths(tokenizer: EncoderTokenizer) -> None:
    texts = [" ".join(["old"] * count) for count in range(1, 16)]
    examples = [Example(text, label=0) for text in texts]
    dataset = tokenize(tokenizer, examples, config_of("classification", max_tokens=12))
    widths = {batch.input_ids.shape[1] for batch in ordered_batches(dataset, 24)}
    assert widths == {8, 12}  # a multiple of 8, or the most that a text may have


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


def test_long_texts_are_cut_and_none_is_left_out(tokenizer: EncoderTokenizer) -> None:
    examples = [Example(text, label=0) for text in sentences(10)]
    dataset = tokenize(tokenizer, examples, config_of("classification", max_tokens=6))
    assert len(dataset) == 10
    assert dataset.lengths.tolist() == [6] * 10
    assert all(row[-1] == tokenizer.special.sep for row in map(dataset.ids.__getitem__, range(10)))


def test_a_separator_in_a_single_text_starts_no_second_one(tokenizer: EncoderTokenizer) -> None:
    config = config_of("classification")
    single = Example("the red [SEP] house", label=0)
    dataset = tokenize(tokenizer, [single], config)
    assert dataset.ids[0].tolist().count(tokenizer.special.sep) == 2
    assert dataset.batch(np.array([0])).token_type_ids.sum() == 0
    pairs = tokenize(tokenizer, [Example("the red", "house", label=0)], config)
    ids = pairs.ids[0].tolist()
    types = pairs.batch(np.array([0])).token_type_ids[0].tolist()
    second = len(ids) - ids.index(tokenizer.special.sep) - 1
    assert types[: len(ids)] == [0] * (len(ids) - second) + [1] * second


def test_an_epoch_hides_other_pieces(tokenizer: EncoderTokenizer) -> None:
    examples = [Example(text) for text in sentences(40)]
    dataset = tokenize(tokenizer, examples, config_of("masked-lm"))
    batches = Batches(dataset, 128, seed=1)

    def epoch(number: int) -> list[list[list[int]]]:
        steps = range(number * len(batches), (number + 1) * len(batches))
        return [batches[step].input_ids.tolist() for step in steps]

    first = epoch(0)
    assert epoch(0) == first
    rows = {tuple(row) for batch in first for row in batch}
    others = {tuple(row) for batch in epoch(1) for row in batch}
    assert len(rows & others) < 20
    assert tokenizer.special.mask in {i for row in rows for i in row}


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


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_that_do_not_fit_are_refused(tokenizer: EncoderTokenizer, kind: TaskKind) -> None:
    dataset = tokenize(tokenizer, examples_of(kind, 4), config_of(kind))
    outputs = teacher_outputs(dataset)
    wrong = [outputs[:-1]]
    if kind == "tagging":
        wrong.append([outputs[0][:-1], *outputs[1:]])
    for given in wrong:
        with pytest.raises(ValueError, match=r"outputs of a teacher do not fit 4 texts"):
            dataset.with_teacher(given)


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
