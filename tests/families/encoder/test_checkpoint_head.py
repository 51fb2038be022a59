"""The head of a checkpoint that was fine-tuned on other numbers than the task's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from encoder_checkpoints import saved
from encoder_networks import shake
from encoder_task import SIZES, encoder_config, sentences, trained_tokenizer

from mosdeploy.config.encoder import CheckpointConfig, EncoderRunConfig, TeacherConfig
from mosdeploy.config.sections import TrainingConfig
from mosdeploy.families.encoder.checkpoint_head import output_order, put_on_scale
from mosdeploy.families.encoder.dataset import EncoderDataset, center_and_spread, tokenize
from mosdeploy.families.encoder.elastic import fit_scale, fresh_subnet
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.network import EncoderSubnet, PooledHead
from mosdeploy.families.encoder.scoring import outputs_of
from mosdeploy.families.encoder.teacher import open_teacher
from mosdeploy.family import TeacherTask
from mosdeploy.spaces.encoder import EncoderArch
from mosdeploy.storage import sha256_file

CONFIG = encoder_config(kind="regression")
Numbers = npt.NDArray[np.float64]


def fresh(config: EncoderRunConfig = CONFIG) -> EncoderSubnet:
    arch = config.space.largest
    assert isinstance(arch, EncoderArch)
    return fresh_subnet(arch, config.space, 96, config.supernet, seed=1)


def shaken(config: EncoderRunConfig = CONFIG) -> EncoderSubnet:
    net = fresh(config)
    shake(net, 0.3)
    return net


def texts(folder: Path) -> EncoderDataset:
    rows = [Example(text, label=0.0) for text in sentences(300)]
    return tokenize(trained_tokenizer(folder / "tokenizer.json"), rows, CONFIG)


def answers(net: EncoderSubnet, dataset: EncoderDataset) -> Numbers:
    ids = [dataset.ids[i].tolist() for i in range(len(dataset))]
    return torch.cat(outputs_of(net, ids, dataset.layout)).double().numpy()


@pytest.mark.parametrize(("slope", "shift"), [(120, 400), (-0.01, 0.5), (3.0, 1e6)])
def test_answers_are_put_on_the_scale_of_the_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, slope: float, shift: float
) -> None:
    net = shaken()
    dataset = texts(tmp_path)
    dataset = replace(dataset, labels=shift + slope * answers(net, dataset))
    put_on_scale(net, dataset, CONFIG)
    fit_scale(net, dataset.labels)
    _, spread = center_and_spread(dataset.labels)
    assert np.abs(answers(net, dataset) - dataset.labels).max() < 0.2 * spread
    assert f"put on it as {slope:.4g} times its answer plus {shift:.4g}, by 256" in caplog.text
    assert len(caplog.records) == 1


def test_answers_on_the_scale_are_left_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = shaken()
    dataset = texts(tmp_path)
    before = answers(net, dataset)
    noise = np.random.default_rng(1).normal(0, before.std() / 2, len(before))
    put_on_scale(net, replace(dataset, labels=1.2 * before + noise), CONFIG)
    assert np.array_equal(answers(net, dataset), before)
    assert not caplog.records


@pytest.mark.parametrize("is_flat", [False, True])
def test_a_head_that_knows_nothing_is_drawn_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_flat: bool
) -> None:
    net = shaken()
    assert isinstance(net.head, PooledHead)
    if is_flat:
        net.head.out.weight.data.zero_()
    dataset = replace(texts(tmp_path), labels=np.random.default_rng(1).normal(700, 90, 300))
    put_on_scale(net, dataset, CONFIG)
    assert not net.head.out.bias.any()
    assert 0 < net.head.out.weight.abs().max() < 0.1
    fit_scale(net, dataset.labels)
    assert np.abs(answers(net, dataset) - 700).max() < 40
    assert "have nothing to do with the labels, by 256 training texts" in caplog.text


def test_fresh_heads_and_classes_are_left_alone(tmp_path: Path) -> None:
    dataset = replace(texts(tmp_path), labels=np.linspace(400, 900, 300))
    for net, config in ((fresh(), CONFIG), (shaken(encoder_config()), encoder_config())):
        before = {name: x.clone() for name, x in net.state_dict().items()}
        put_on_scale(net, dataset, config)
        assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())


def task_of(
    folder: Path, checkpoint: Path, label: Callable[[int], float], **teacher: Any
) -> TeacherTask:
    """A teacher from a checkpoint of transformers."""
    config = CONFIG.model_copy(
        update={
            "checkpoint": CheckpointConfig(path=str(checkpoint), vocab_size=96),
            "teacher": TeacherConfig(**teacher),
            "training": TrainingConfig(threads=1, amp="none", checkpoint_every=1),
        }
    )
    rows = [Example(text, label=label(i)) for i, text in enumerate(sentences(40))]
    data = tokenize(trained_tokenizer(checkpoint / "tokenizer.json"), rows, config)
    folder.mkdir()
    return TeacherTask(config, folder, folder / "teacher", data_sha256="", train=data, valid=data)


def test_a_teacher_starts_with_what_its_checkpoint_knows(tmp_path: Path, caplog: Any) -> None:
    """Also after a kill: the training goes on with the head that it had."""
    theirs = saved(tmp_path / "bert", "bert", "ForSequenceClassification", num_labels=1, **SIZES)
    asked = task_of(tmp_path / "ask", tmp_path / "bert", lambda i: 0.0, steps=4)
    data = asked.train
    assert isinstance(data, EncoderDataset)
    ids, mask, types = data.batch(np.arange(40)).inputs()
    with torch.no_grad():
        known = theirs(ids, attention_mask=mask, token_type_ids=types).logits[:, 0].numpy()

    def label(i: int) -> float:
        return 400 + 120 * float(known[i])

    rate = {"steps": 4, "learning_rate": 1e-5}
    whole = task_of(tmp_path / "whole", tmp_path / "bert", label, **rate)
    (tmp_path / "whole" / "teacher").mkdir()
    network = open_teacher(whole).subnet(CONFIG.space.largest)
    assert isinstance(network, EncoderSubnet) and isinstance(whole.train, EncoderDataset)
    found = answers(network, whole.train)
    assert np.corrcoef(found, whole.train.labels)[0, 1] > 0.95
    assert np.abs(found - whole.train.labels).mean() < 0.5 * whole.train.labels.std()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    killed = task_of(tmp_path / "killed", tmp_path / "bert", label, **rate)
    (tmp_path / "killed" / "teacher").mkdir()
    with pytest.raises(KeyboardInterrupt):
        open_teacher(replace(killed, show=stop))
    caplog.clear()
    open_teacher(killed)
    assert not caplog.records  # it is not told again
    files = [next(x.root.glob("teacher/*/teacher.safetensors")) for x in (killed, whole)]
    assert sha256_file(files[0]) == sha256_file(files[1])


def test_beside_another_teacher_the_head_is_fresh(tmp_path: Path, caplog: Any) -> None:
    for name in ("bert", "given"):
        saved(tmp_path / name, "bert", "ForSequenceClassification", num_labels=1, **SIZES)
        trained_tokenizer(tmp_path / name / "tokenizer.json")
    for name, is_own in (("given", False), ("bert", True)):
        root = tmp_path / f"taught-by-{name}"
        made = task_of(root, tmp_path / "bert", float, path=str(tmp_path / name))
        made.folder.mkdir()
        teacher = open_teacher(made)
        assert teacher.is_largest == is_own
        assert teacher.weights["head.out.bias"].any() == is_own
        data = made.train
        assert isinstance(data, EncoderDataset)
        caplog.clear()
        teacher.label(data, [Example(text) for text in sentences(40)])
        # off the scale, either is told
        assert "are they on the scale of the labels?" in caplog.text


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([], [0, 1, 2]),
        (["b c", "A", "D"], [1, 0, 2]),
        (["a", "b c"], None),
        (["a", "d", "e"], None),
        (["a", "A", "b_c", "d"], None),
    ],
)
def test_outputs_are_found_by_name(names: list[str], order: list[int] | None) -> None:
    assert output_order(names, encoder_config(labels=["a", "b_c", "d"]).task) == order


def test_names_that_fold_to_one_have_no_order() -> None:
    assert output_order(["YES", "yes"], encoder_config(labels=["Yes", "yes"]).task) is None
