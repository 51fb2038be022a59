"""A teacher that was fine-tuned before: it answers as transformers does, in the task's order."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_checkpoints import saved
from encoder_task import encoder_config, sentences, trained_tokenizer

from mosdeploy.config.encoder import CheckpointConfig, EncoderRunConfig, TeacherConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.checkpoint_files import CROSS_ENCODER_NAME
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.external_teacher import load_external_teacher
from mosdeploy.families.encoder.teacher import same_folder

TAGS = {"kind": "tagging", "labels": ["PLACE"]}
TAG_NAMES = ["O", "B-PLACE", "I-PLACE"]


def given(folder: Path, kind: str, suffix: str, **changes: Any) -> Any:
    """A network of transformers with a tokenizer of 96 pieces."""
    more = {"vocab_size": 96, "max_position_embeddings": 40, "pad_token_id": 0}
    net = saved(folder, kind, suffix, **(more | changes))
    trained_tokenizer(folder / "tokenizer.json")
    return net


def config_of(folder: Path, **task: Any) -> EncoderRunConfig:
    return encoder_config(**task).model_copy(update={"teacher": TeacherConfig(path=str(folder))})


def examples() -> list[Example]:
    single = [Example(text) for text in sentences(3)]
    return [*single, Example("the red house", text_pair="a lake and a river")]


def expected_logits(net: Any, ids: list[int], sep_id: int) -> torch.Tensor:
    """Of one text, from transformers; the second text of a pair is of the second type, but for a
    RoBERTa, whose tokenizers tell no types.
    """
    inputs = {"input_ids": torch.tensor([ids])}
    has_types = getattr(net.config, "type_vocab_size", 0) == 2
    if has_types and net.config.model_type != "roberta":
        end = ids.index(sep_id)
        inputs["token_type_ids"] = torch.tensor([[int(i > end) for i in range(len(ids))]])
    with torch.no_grad():
        return net(**inputs).logits[0]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta", "roberta-types"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_it_answers_texts_as_transformers_does(kind: str, task: str, tmp_path: Path) -> None:
    num_outputs = 2 if task == "classification" else 1
    theirs = given(tmp_path, kind, "ForSequenceClassification", num_labels=num_outputs)
    teacher = load_external_teacher(config_of(tmp_path, kind=task), Path())
    ids = teacher.ids(examples())
    for row, output in enumerate(teacher.outputs(examples())):
        own = ids[row].tolist()
        expected = expected_logits(theirs, own, teacher.tokenizer.special.sep)
        assert output.shape == (num_outputs,)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert teacher.is_of_family == (kind not in ("distilbert", "electra"))


SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"


def write_activation(folder: Path, name: str, where: str) -> None:
    """As sentence-transformers writes it since 6, from 4 on and before."""
    contents = {
        "newest": {"activation_fn": name},
        "newer": {"sentence_transformers": {"activation_fn": name, "version": "4.0.1"}},
        "older": {"sbert_ce_default_activation_function": name},
    }
    if where == "newest":
        (folder / CROSS_ENCODER_NAME).write_text(json.dumps(contents[where]))
        return
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | contents[where]))


@pytest.mark.parametrize("where", ["newest", "newer", "older"])
def test_a_number_behind_an_activation_is_refused(where: str, tmp_path: Path) -> None:
    given(tmp_path, "bert", SEQUENCES, num_labels=1)
    config = config_of(tmp_path, kind="regression")
    write_activation(tmp_path, IDENTITY, where)
    load_external_teacher(config, Path())
    write_activation(tmp_path, SIGMOID, where)
    with pytest.raises(ConfigError, match=rf"go through {SIGMOID} .*; give a network whose"):
        load_external_teacher(config, Path())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta"])
def test_it_tags_pieces_as_transformers_does(kind: str, tmp_path: Path) -> None:
    theirs = given(tmp_path, kind, "ForTokenClassification", num_labels=3)
    config = config_of(tmp_path, **TAGS)
    checkpoint = CheckpointConfig(path=str(tmp_path), vocab_size=96)
    config = config.model_copy(update={"checkpoint": checkpoint})
    teacher = load_external_teacher(config, Path())
    ids = teacher.ids(examples()[:3])
    for row, output in enumerate(teacher.outputs(examples()[:3])):
        own = ids[row].tolist()
        expected = expected_logits(theirs, own, teacher.tokenizer.special.sep)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert teacher.is_of_family
    assert same_folder(config, Path())


def other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(content))


SEQUENCES = "ForSequenceClassification"


@pytest.mark.parametrize(
    ("suffix", "changes", "message"),
    [
        ("Model", {}, r"teacher\.path: .* has no head for a classification"),
        (SEQUENCES, {"problem_type": "multi_label_classification"}, "may have several"),
        (SEQUENCES, {"num_labels": 3}, "has 3 outputs, the task 2"),
        (SEQUENCES, {"id2label": {0: "bad", 1: "good"}}, "are called bad, good, .* no, yes"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    suffix: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given(tmp_path, "bert", suffix, **changes)
    with pytest.raises(ConfigError, match=message):
        load_external_teacher(config_of(tmp_path), Path())


def test_a_tagger_with_other_pieces_is_refused(tmp_path: Path) -> None:
    names = dict(enumerate(TAG_NAMES))
    for folder in ("own", "given"):
        given(tmp_path / folder, "bert", "ForTokenClassification", id2label=names)
    config = config_of(tmp_path / "given", **TAGS)
    with pytest.raises(ConfigError, match="than the one that is trained on the texts; start from"):
        load_external_teacher(config, Path())
    checkpoint = CheckpointConfig(path=str(tmp_path / "own"), vocab_size=96)
    config = config.model_copy(update={"checkpoint": checkpoint})
    assert not same_folder(config, Path())
    load_external_teacher(config, Path())
    other_tokenizer(tmp_path / "own")
    with pytest.raises(ConfigError, match=r"is another tokenizer than .*own.tokenizer\.json"):
        load_external_teacher(config, Path())


def test_a_tagger_that_reads_too_little_is_refused(tmp_path: Path) -> None:
    given(tmp_path, "bert", "ForTokenClassification", num_labels=3, max_position_embeddings=31)
    checkpoint = CheckpointConfig(path=str(tmp_path), vocab_size=96)
    config = config_of(tmp_path, **TAGS).model_copy(update={"checkpoint": checkpoint})
    # training texts alone would fit, but test texts are cut as a bundle cuts them
    task = config.task.model_copy(update={"max_tokens": 31})
    config = config.model_copy(update={"task": task})
    with pytest.raises(ConfigError, match=r"reads 31 tokens, but .* is 32"):
        load_external_teacher(config, Path())
    export = config.export.model_copy(update={"max_input_len": 31})
    load_external_teacher(config.model_copy(update={"export": export}), Path())
