"""When a teacher counts; and the walk with one that is given: it is not trained, and all learn from
its outputs.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from encoder_checkpoints import saved
from encoder_networks import VOCAB_SIZE, shake, small_space, some_archs, texts
from encoder_task import SIZES, encoder_config, sentences, trained_tokenizer
from encoder_walking import make_encoder_folder
from encoders import VOCAB_SIZE as LARGER_VOCAB
from encoders import encoder_space, random_ids, uneven_arch
from torch import Tensor
from torch.nn import functional as F
from walking import KeptProgress, edit, opened

from mosdeploy.config.encoder import CheckpointConfig, TeacherConfig
from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.batches import Ragged
from mosdeploy.errors import ConfigError, MosdeployError, StaleInputError
from mosdeploy.families.encoder import teacher as teacher_module
from mosdeploy.families.encoder.checkpoint import load_checkpoint
from mosdeploy.families.encoder.dataset import BatchLayout, tokenize
from mosdeploy.families.encoder.elastic import fresh_subnet, sliced_subnet
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.families.encoder.scoring import outputs_of
from mosdeploy.families.encoder.teacher import (
    TRIAL_TEXTS,
    Importance,
    TeacherCard,
    TeacherOutputs,
    measure_importance,
    open_teacher,
    reorder,
    warn_of_answers,
    warn_of_chance,
)
from mosdeploy.family import TeacherTask
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import read_record
from mosdeploy.training.device import ComputeModeTrial

slow = pytest.mark.slow

BARELY = TeacherConfig(steps=1, learning_rate=1e-9)
NO_STEPS = "steps = 40\nlearning_rate = 5e-3"


def card_of(root: Path) -> TeacherCard:
    """Of the one teacher that lies there."""
    (path,) = root.glob("teacher/*/teacher.json")
    return read_record(TeacherCard, path, "")


@slow
def test_a_teacher_of_other_texts_is_trained_anew(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "run", "classification")
    opened(root).train()
    card = card_of(root)
    edit(root / "mosdeploy.toml", "max_tokens = 24", "max_tokens = 4")
    opened(root).train()
    assert card_of(root).weights_sha256 != card.weights_sha256


def barely_trained(folder: Path, teacher: TeacherConfig = BARELY, **task: Any) -> Any:
    """The network that a checkpoint starts as; its training changes nothing that can be seen."""
    tokenizer = trained_tokenizer(folder / "tokenizer.json")
    config = encoder_config(**task).model_copy(
        update={
            "checkpoint": CheckpointConfig(path=str(folder), vocab_size=96),
            "teacher": teacher,
            "training": TrainingConfig(threads=1, amp="none"),
        }
    )
    texts = [
        Example(text, label=i % 2, words=tuple(text.split()), tags=(0,) * len(text.split()))
        for i, text in enumerate(sentences(8))
    ]
    data = tokenize(tokenizer, texts, config)
    made = TeacherTask(config, folder, folder / "teacher", data_sha256="", train=data, valid=data)
    made.folder.mkdir()
    return open_teacher(made).subnet(config.space.largest).eval(), data.batch(np.arange(8))


@pytest.mark.parametrize(("suffix", "knows_task"), [("Model", False), ("ForMaskedLM", True)])
def test_a_head_that_was_drawn_does_not_order_heads_and_neurons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, knows_task: bool
) -> None:
    """Of what is not trained on, how well texts are told apart does."""
    seen = []

    def measure(network: Any, batches: Any, knows_task: bool = True) -> Importance:
        seen.append(knows_task)
        return measure_importance(network, batches, knows_task)

    monkeypatch.setattr(teacher_module, "measure_importance", measure)
    saved(tmp_path, "bert", suffix, **SIZES)
    barely_trained(tmp_path, TeacherConfig(), kind="masked-lm", labels=[])
    assert seen == [knows_task]


def test_a_teacher_that_diverged_names_its_own_key(tmp_path: Path) -> None:
    saved(tmp_path, "bert", "ForSequenceClassification", **SIZES)
    with pytest.raises(MosdeployError, match=r"diverged at .*; lower teacher\.learning_rate, "):
        barely_trained(tmp_path, TeacherConfig(steps=4, learning_rate=1e30))


@pytest.mark.parametrize(
    ("suffix", "names", "task", "order", "said"),
    [
        ("Sequence", ["no", "yes"], {}, [0, 1], ""),
        ("Sequence", ["Yes", "No"], {}, [1, 0], "Yes, No, put in the order no, yes"),
        ("Sequence", ["LABEL_0", "LABEL_1"], {}, [0, 1], "taken for no, yes, in this order; if"),
        (
            "Token",
            ["I-A B", "O", "B-A B"],
            {"kind": "tagging", "labels": ["A_B"]},
            [1, 2, 0],
            "put in the order O, B-A_B, I-A_B",
        ),
    ],
)
def test_a_checkpoints_head_starts_in_the_order_of_the_task(
    tmp_path: Path, caplog: Any, suffix: str, names: Any, task: Any, order: list[int], said: str
) -> None:
    caplog.set_level("INFO", logger="mosdeploy")
    labels = dict(enumerate(names))
    theirs = saved(tmp_path, "bert", f"For{suffix}Classification", id2label=labels, **SIZES)
    net, batch = barely_trained(tmp_path, **task)
    ids, mask, types = batch.inputs()
    with torch.no_grad():
        found = net(ids, mask, types)
        expected = theirs(ids, attention_mask=mask, token_type_ids=types).logits[..., order]
    if suffix == "Token":
        found = found[mask.bool()]
        expected = expected[mask.bool()]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert "drawn anew" not in caplog.text
    assert said in caplog.text
    assert bool(said) == ("outputs of" in caplog.text)


def test_outputs_for_other_classes_are_drawn_anew(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO", logger="mosdeploy")
    labels = {0: "cat", 1: "dog"}
    saved(tmp_path, "bert", "ForSequenceClassification", id2label=labels, **SIZES)
    net, _ = barely_trained(tmp_path)
    state = net.state_dict()
    own = load_checkpoint(str(tmp_path), tmp_path).heads["pooled"]
    torch.testing.assert_close(state["head.dense.weight"], own["head.dense.weight"])
    assert state["head.out.weight"].std() < own["head.out.weight"].std() / 2
    assert "has outputs for cat, dog, not no, yes: left out" in caplog.text
    assert "drawn anew: head.out.bias, head.out.weight" in caplog.text


def test_a_given_teacher_without_names_is_told_or_refused(tmp_path: Path, caplog: Any) -> None:
    saved(tmp_path, "bert", "ForSequenceClassification", **SIZES)
    barely_trained(tmp_path, TeacherConfig(path=str(tmp_path)))
    assert caplog.text.count("have no names and are taken for no, yes, in this order") == 1
    folder = tmp_path / "tags"
    saved(folder, "bert", "ForTokenClassification", num_labels=3, **SIZES)
    with pytest.raises(ConfigError, match=r"teacher\.path: .* have no names; write them in id2l"):
        barely_trained(folder, TeacherConfig(path=str(folder)), kind="tagging", labels=["UI"])
    assert not list((folder / "teacher").iterdir())


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that knows the task, as `save_pretrained` would write it."""
    folder = tmp_path_factory.mktemp("given") / "run"
    root = make_encoder_folder(folder, "classification", steps="200")
    run = opened(root)
    run.train()
    return Path(run.export_format("hf", "largest", weights="teacher").path)


def taught_by(root: Path, teacher: Path, **changes: str) -> Path:
    """A run folder whose run file names a teacher."""
    make_encoder_folder(root, "classification", **changes)
    edit(root / "mosdeploy.toml", NO_STEPS, f'path = "{teacher}"')
    return root


@pytest.fixture(scope="module")
def taught(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A narrower, shallower supernet with a tokenizer of its own, after training and finetuning."""
    root = tmp_path_factory.mktemp("taught") / "run"
    sizes = {"vocab_size": "70", "embed_dim": "[8]", "layers": "[1, 2]", "steps": "40"}
    taught_by(root, given, **sizes)
    progress = KeptProgress()
    run = opened(root, progress)
    results = {"card": run.train(), "tuned": run.finetune("largest"), "scores": run.evaluate()}
    return root, results, progress


@slow
def test_a_given_teacher_is_scored_and_not_trained(taught: Any) -> None:
    root, results, progress = taught
    assert {stage for stage, _ in progress.updates} == {"label", "train", "finetune", "evaluate"}
    assert not list(root.glob("teacher/*/log.jsonl"))
    assert not card_of(root).is_largest
    scores = results["scores"].subnets["teacher"]
    assert scores.metrics["accuracy"] > 80
    assert len(scores.arch.layers) == 3
    assert scores.num_parameters > results["scores"].subnets["largest"].num_parameters
    assert scores.num_examples == results["scores"].subnets["largest"].num_examples


def test_subnets_learn_what_the_teacher_answers(tmp_path: Path) -> None:
    """Of another kind, with another tokenizer, with outputs in another order."""
    sizes = {"vocab_size": 96, "max_position_embeddings": 40}
    labels = {0: "good", 1: "bad"}
    theirs = saved(
        tmp_path / "given", "distilbert", "ForSequenceClassification", id2label=labels, **sizes
    )
    tokenizer = trained_tokenizer(tmp_path / "given" / "tokenizer.json")
    root = taught_by(tmp_path / "run", tmp_path / "given", layers="[1, 2]")
    opened(root).train()
    assert not list(root.glob("teacher/*/log.jsonl"))
    state = trained_run(open_run(root))
    assert not state.has_parts_of_teacher
    labelled = state.tokenized(state.data.valid)
    for row, example in enumerate(state.data.valid):
        ids = torch.tensor([tokenizer.encode(example.text, max_tokens=24)])
        with torch.no_grad():
            good, bad = theirs(ids).logits[0]
        found = torch.from_numpy(labelled.teacher[row])  # type: ignore[attr-defined]
        torch.testing.assert_close(found, torch.stack([bad, good]), atol=1e-5, rtol=1e-5)


@slow
def test_a_changed_teacher_is_another_training(taught: Any, given: Path, tmp_path: Path) -> None:
    root, _, _ = taught
    copy = Path(shutil.copytree(root, tmp_path / "run"))
    other = Path(shutil.copytree(given, tmp_path / "given"))
    text = (copy / "mosdeploy.toml").read_text()
    (copy / "mosdeploy.toml").write_text(text.replace(str(given), str(other)))
    # the same files elsewhere are the same teacher
    opened(copy).evaluate(("largest",))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    with pytest.raises(StaleInputError, match="the data has changed"):
        opened(copy).evaluate(("largest",))


@slow
def test_the_checkpoint_itself_may_be_the_teacher(given: Path, tmp_path: Path) -> None:
    root = taught_by(tmp_path / "run", given)
    edit(root / "mosdeploy.toml", "vocab_size = 60", f'vocab_size = 60\npath = "{given}"')
    run = opened(root)
    run.train()
    state = trained_run(open_run(root))
    teacher = state.teacher
    assert teacher is not None and teacher.is_largest
    dataset = state.tokenized(state.data.valid)
    net = teacher.supernet(seed=1).eval()
    batch = dataset.batch(torch.arange(8).numpy())  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = net(batch.inputs(), net.space.largest)
    torch.testing.assert_close(logits, batch.teacher, atol=1e-4, rtol=1e-4)
    scores = run.evaluate().subnets
    assert scores["teacher"].metrics["accuracy"] > 80
    run.finetune("largest", steps=2)
    assert len(list(root.glob("subnets/*-teacher"))) == 1


def test_a_teacher_that_knows_no_more_than_the_shares_of_the_classes_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    halves = np.array([0, 1, 1, 0])
    warn_of_chance(0.68, halves)
    warn_of_chance(0.75, halves)  # sure of what is wrong
    warn_of_chance(0.6, np.zeros(4, dtype=np.int64))  # one class: there is nothing to know
    assert not caplog.records
    warn_of_chance(0.69, halves)
    warn_of_chance(0.57, np.array([0, 1, 1, 1]))
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("the teacher's validation loss is 0.690, and 0.693 is that of")
    assert "is 0.570, and 0.562 is that of" in told[1]


def test_a_teacher_that_knows_less_than_a_constant_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    classes = np.array([0.0, 0.0, 1.0])
    right = [np.array(x, np.float32) for x in ([2, 1], [3, 0], [0, 1])]
    warn_of_answers("classification", classes, right)
    numbers = np.array([0.0, 50.0, 100.0])
    warn_of_answers("regression", numbers, [np.array([x], np.float32) for x in (10, 40, 90)])
    assert not caplog.records
    warn_of_answers("classification", classes, [x[::-1] for x in right])
    assert "tells 0.0% of 3 examples as they are labelled, the most frequent" in caplog.text
    warn_of_answers("regression", numbers, [np.array([x], np.float32) for x in (-2, 0, 2)])
    assert "off by 50 in the mean, the mean of the labels alone by 33.33" in caplog.text


@dataclass(frozen=True)
class Labelled:
    """Texts with classes."""

    lengths: tuple[int, ...]
    labels: Tensor

    num_targets = 1

    def to(self, device: torch.device) -> Self:
        return self

    def inputs(self) -> tuple[Tensor, ...]:
        return texts(self.lengths)

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(logits, self.labels, reduction="sum")

    def losses(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.labels, reduction="none").double()


BATCHES = [Labelled((6, 2, 5), torch.tensor([0, 2, 1])), Labelled((3, 9), torch.tensor([1, 1]))]


@pytest.fixture
def net() -> EncoderSubnet:
    space = small_space()
    torch.manual_seed(2)
    net = EncoderSubnet(space.largest, space, VOCAB_SIZE, SupernetConfig(dropout=0.5))
    shake(net, 0.3)
    return net


def with_weights(net: EncoderSubnet, weights: dict[str, Tensor]) -> EncoderSubnet:
    other = EncoderSubnet(net.arch, small_space(), VOCAB_SIZE).eval()
    other.load_state_dict(weights)
    return other


def test_the_reordered_network_computes_the_same(net: EncoderSubnet) -> None:
    weights = net.state_dict()
    before = {name: x.clone() for name, x in weights.items()}
    importance = measure_importance(net, BATCHES)
    ordered = reorder(weights, importance)
    assert all(torch.equal(weights[name], x) for name, x in before.items())
    assert not torch.equal(
        ordered["layers.0.self_attn.q.weight"], weights["layers.0.self_attn.q.weight"]
    )
    assert not torch.equal(ordered["layers.2.fc1.weight"], weights["layers.2.fc1.weight"])
    with torch.no_grad():
        torch.testing.assert_close(
            with_weights(net, ordered)(*texts()), net.eval()(*texts()), atol=1e-5, rtol=1e-5
        )
    again = measure_importance(with_weights(net, ordered), BATCHES)
    for own, expected in ((again.heads, importance.heads), (again.neurons, importance.neurons)):
        torch.testing.assert_close(own, expected.sort(descending=True).values, rtol=1e-4, atol=0)


def test_importance_is_the_change_of_the_loss(net: EncoderSubnet) -> None:
    """Against differences of the loss when a head or a neuron is scaled, in float64."""
    net = net.double().eval()
    importance = measure_importance(net, BATCHES)
    step = 1e-5
    heads = torch.zeros(3, 4, dtype=torch.float64)
    neurons = torch.zeros(3, 16, dtype=torch.float64)
    for batch in BATCHES:
        for i in range(3):
            out = f"layers.{i}.self_attn.out.weight"
            for h in range(4):
                columns = (out, (slice(None), slice(4 * h, 4 * h + 4)))
                heads[i, h] += slope(net, batch, [columns], step).abs()
            for n in range(16):
                rows = [(f"layers.{i}.fc1.weight", (n,)), (f"layers.{i}.fc1.bias", (n,))]
                column = (f"layers.{i}.fc2.weight", (slice(None), n))
                neurons[i, n] += slope(net, batch, rows, step).abs()
                neurons[i, n] += slope(net, batch, [column], step).abs()
    torch.testing.assert_close(importance.heads, heads, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(importance.neurons, neurons, rtol=1e-4, atol=1e-8)


def slope(net: EncoderSubnet, batch: Labelled, parts: list[object], step: float) -> Tensor:
    """Of the loss, when these parts of the weights are scaled."""
    losses = []
    for factor in (1 + step, 1 - step):
        weights = {name: x.clone() for name, x in net.state_dict().items()}
        for name, index in parts:
            weights[name][index] *= factor
        with torch.no_grad():
            logits = torch.func.functional_call(net, weights, batch.inputs())
            losses.append(batch.loss(logits))
    return (losses[0] - losses[1]) / (2 * step)


def test_a_slice_keeps_the_most_important(net: EncoderSubnet) -> None:
    """In an order worked out by hand."""
    heads = torch.tensor([[1.0, 4.0, 2.0, 3.0]] * 3)
    neurons = torch.arange(16.0).repeat(3, 1)
    weights = net.state_dict()
    ordered = reorder(weights, Importance(heads, neurons))
    arch = some_archs(small_space(), 0)[1]  # one head, FFN 5, width 8
    sliced = sliced_subnet(arch, small_space(), VOCAB_SIZE, SupernetConfig(), ordered).state_dict()
    query = weights["layers.0.self_attn.q.weight"]
    assert torch.equal(sliced["layers.0.self_attn.q.weight"], query[4:8, :8])  # head 1
    expected = weights["layers.0.fc1.bias"][[15, 14, 13, 12, 11]]
    assert torch.equal(sliced["layers.0.fc1.bias"], expected)
    expected = weights["layers.0.fc2.weight"][:8, [15, 14, 13, 12, 11]]
    assert torch.equal(sliced["layers.0.fc2.weight"], expected)


LAYOUT = BatchLayout(pad_id=0, sep_id=2, num_types=2)
FULL = TrainingConfig(amp="none")


@pytest.fixture(scope="module")
def network() -> Any:
    return fresh_subnet(uneven_arch(), encoder_space(), LARGER_VOCAB, SupernetConfig(), 1)


def ids_of(count: int) -> Ragged:
    lengths = np.random.default_rng(3).integers(3, 20, count)
    return Ragged.of(random_ids(lengths.tolist()))


def wanted_of(network: Any, ids: Ragged) -> list[torch.Tensor]:
    return outputs_of(network, [ids[i].tolist() for i in range(len(ids))], LAYOUT)


@pytest.mark.parametrize("amp", ["none", "bf16", "auto"])
def test_labels_are_the_networks_outputs(network: Any, amp: Any, tmp_path: Path) -> None:
    ids = ids_of(2 * TRIAL_TEXTS + 1)
    labels = TeacherOutputs(tmp_path, ids)
    labels.compute(network, LAYOUT, TrainingConfig(amp=amp))
    found = [torch.from_numpy(x) for x in labels.values]
    wanted = wanted_of(network, ids)
    rounding = 0.0 if amp == "none" else 0.05
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert one.shape == (3,)
        torch.testing.assert_close(one, other, atol=rounding, rtol=rounding)
    exact = all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert exact or amp != "none"
    assert not exact or amp != "bf16"  # it does compute in that precision


class KilledError(Exception):
    pass


def test_a_killed_labelling_goes_on(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the parts that were done; progress counts them."""
    monkeypatch.setattr(teacher_module, "PART_TEXTS", 64)
    ids = ids_of(150)
    told: list[tuple[int, int]] = []

    def kill(done: int, total: int) -> None:
        told.append((done, total))
        if done == 96:
            raise KilledError

    with pytest.raises(KilledError):
        TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, FULL, kill)
    assert told == [(32, 150), (64, 150), (96, 150)]
    again = TeacherOutputs(tmp_path, ids)
    assert not again.is_whole
    again.compute(network, LAYOUT, FULL, lambda *x: told.append(x))
    assert told[3:] == [(96, 150), (128, 150), (150, 150)]
    kept = TeacherOutputs(tmp_path, ids)
    assert kept.is_whole
    for one, other, third in zip(again.values, kept.values, wanted_of(network, ids), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, third.numpy())


def test_a_killed_labelling_keeps_its_precision(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the other one is the faster now, and few texts are left."""
    monkeypatch.setattr(teacher_module, "PART_TEXTS", 2 * TRIAL_TEXTS)
    chosen = iter(["bf16", "none"])

    def choose(trials: Any) -> ComputeModeTrial:
        amp = next(chosen)
        return ComputeModeTrial(amp=amp, is_unfused=amp == "bf16", full_ms=1.0, bf16_ms=1.0)

    def kill(done: int, total: int) -> None:
        if done > 2 * TRIAL_TEXTS:
            raise KilledError

    monkeypatch.setattr(teacher_module, "fastest", choose)
    ids = ids_of(2 * TRIAL_TEXTS + 40)
    auto = TrainingConfig(amp="auto")
    with pytest.raises(KilledError):
        TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, auto, kill)
    again = TeacherOutputs(tmp_path, ids)
    again.compute(network, LAYOUT, auto)
    whole = TeacherOutputs(tmp_path / "whole", ids)
    whole.compute(network, LAYOUT, TrainingConfig(amp="bf16"))
    assert all(map(np.array_equal, again.values, whole.values))


def test_a_part_with_any_wrong_byte_is_an_answer_or_made_again(
    network: Any, tmp_path: Path
) -> None:
    ids = ids_of(5)
    TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, FULL)
    wanted = TeacherOutputs(tmp_path, ids).values
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :])
        labels = TeacherOutputs(tmp_path, ids)
        if labels.is_whole:
            assert all(map(np.array_equal, labels.values, wanted))
    for length in (0, 100):  # as a kill may leave it
        path.write_bytes(content[:length])
        labels = TeacherOutputs(tmp_path, ids)
        assert not labels.is_whole
        labels.compute(network, LAYOUT, FULL)
        assert path.read_bytes() == content
