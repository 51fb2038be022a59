"""Regressions answer on the scale of their labels, from the loss to the bundle."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_networks import VOCAB_SIZE, shake, small_space, some_archs, texts
from encoder_task import encoder_config, sentences, trained_tokenizer
from encoder_walking import examples, make_encoder_folder
from walking import opened

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.families.encoder.dataset import EncoderDataset, center_and_spread, tokenize
from mosdeploy.families.encoder.elastic import fit_scale, fresh_supernet, serve_task
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.families.encoder.onnx_graph import folded
from mosdeploy.supernet.supernet import extract

LABELS = np.array([980.0, 1000.0, 1020.0, 1040.0])
SPACE = small_space(num_outputs=1)


def subnet(is_trained: bool) -> EncoderSubnet:
    torch.manual_seed(1)
    net = EncoderSubnet(SPACE.largest, SPACE, VOCAB_SIZE).eval()
    if is_trained:
        shake(net)
    return net


def test_equal_labels_have_a_spread_of_one() -> None:
    assert center_and_spread(LABELS) == pytest.approx((1010.0, 22.36), abs=0.01)
    assert center_and_spread(np.array([7.0, 7.0])) == (7.0, 1.0)
    assert center_and_spread(np.array([])) == (0.0, 1.0)
    # whose standard deviation is 1.4e-17
    assert center_and_spread(np.full(3, 0.1)) == (pytest.approx(0.1), 1.0)


def test_a_fresh_head_starts_at_the_center() -> None:
    net = subnet(is_trained=False)
    before = net(*texts())
    fit_scale(net, LABELS)
    center, spread = center_and_spread(LABELS)
    torch.testing.assert_close(net(*texts()), center + spread * before)


def test_a_trained_head_answers_as_before() -> None:
    net = subnet(is_trained=True)
    with torch.no_grad():
        net.head.out.bias.fill_(1000.0)  # type: ignore[union-attr]
    before = net(*texts())
    fit_scale(net, LABELS)
    torch.testing.assert_close(net(*texts()), before)
    # but what is trained are numbers around 0
    assert net.head.out.bias.abs() < 1  # type: ignore[union-attr]


def test_a_folded_head_answers_the_same() -> None:
    net = subnet(is_trained=True)
    fit_scale(net, LABELS)
    weights = {name: x.numpy() for name, x in net.state_dict().items()}
    plain = {name: torch.from_numpy(x) for name, x in folded(weights).items()}
    assert "head.scale" in weights and "head.scale" not in plain
    other = subnet(is_trained=False)
    other.load_state_dict(plain, strict=False)
    # they are near 0 here, as the differences of numbers near 1000
    torch.testing.assert_close(other(*texts()), net(*texts()), atol=1e-3, rtol=0)
    of_classes = {"head.out.weight": np.ones((3, 2), np.float32)}
    assert folded(of_classes) is of_classes


def test_subnets_have_the_scale_of_what_the_supernet_starts_as() -> None:
    start = subnet(is_trained=False)
    fit_scale(start, LABELS)
    net = fresh_supernet(SPACE, VOCAB_SIZE, SupernetConfig(), seed=3, start=start.state_dict())
    for arch in some_archs(SPACE):
        found = extract(net, arch)
        assert torch.equal(found.state_dict()["head.scale"], start.state_dict()["head.scale"])
        torch.testing.assert_close(found(*texts()), net.eval()(texts(), arch))


def labelled(tmp_path: Path, factor: float, shift: float) -> EncoderDataset:
    rows = [Example(text, label=shift + factor * (i % 5)) for i, text in enumerate(sentences(40))]
    tokenizer = trained_tokenizer(tmp_path / "tokenizer.json")
    return tokenize(tokenizer, rows, encoder_config(kind="regression"))


def test_the_loss_is_the_same_on_any_scale(tmp_path: Path) -> None:
    rows = np.arange(40)
    small = labelled(tmp_path, 0.001, 0.0)
    large = labelled(tmp_path, 20.0, -500.0)
    EncoderDataset.save(large, tmp_path / "large.npz")
    assert EncoderDataset.open(tmp_path / "large.npz").objective == large.objective
    answers = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    teacher = torch.randn(40, 1, generator=torch.Generator().manual_seed(1))
    found = [
        dataset.with_teacher(list(shift + factor * teacher))
        .batch(rows)
        .losses(shift + factor * answers)
        for dataset, factor, shift in ((small, 0.001, 0.0), (large, 20.0, -500.0))
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
    # whoever answers the mean of all
    mean = torch.full((40, 1), float(large.labels.mean()))
    assert large.batch(rows).losses(mean).mean().item() == pytest.approx(1)


def test_the_head_of_a_served_regression_starts_at_the_center() -> None:
    agnostic = encoder_config(kind="embedding")
    task = encoder_config(kind="regression")
    net = fresh_supernet(agnostic.space, 96, agnostic.supernet, seed=1)
    rows = [Example("a", label=label) for label in LABELS]
    served = serve_task(net, agnostic, task, 2, rows)
    scale = served.state_dict()["network.head.scale"]
    assert scale.tolist() == pytest.approx(center_and_spread(LABELS))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run whose labels are 400 and 420, at a rate that moves no output layer that far."""
    root = make_encoder_folder(tmp_path_factory.mktemp("scale") / "run", "regression", steps="200")
    rows = [{**row, "label": 410 + 10 * float(str(row["label"]))} for row in examples("regression")]
    lines = "\n".join(json.dumps(row) for row in rows)
    (root / "data" / "train.jsonl").write_text(lines + "\n")
    run = opened(root)
    run.train()
    return run


@pytest.mark.slow
def test_all_that_is_trained_answers_on_the_scale_of_the_labels(trained: Any) -> None:
    trained.finetune("smallest", steps=1, from_scratch=True)
    scores = trained.evaluate(("largest", "smallest")).subnets
    assert scores["largest"].metrics["Pearson"] > 80
    assert scores["largest"].metrics["MAE"] < 5
    # one step from scratch tells nothing apart; its answers are the mean
    assert scores["smallest, scratch"].metrics["MAE"] < 11
    assert scores["largest"].loss < 0.5


def test_the_bundle_answers_on_the_scale_of_the_labels(trained: Any) -> None:
    trained.export("largest", precision="fp32")  # which compares it with torch
    good, bad = map(float, trained.predict(["the film is bright", "it was dull and long"]))
    assert good == pytest.approx(420, abs=6) and bad == pytest.approx(400, abs=6)
