"""A family that exists in tests alone goes all the way: rooms and pipeline know no family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run_python
from example_spaces import SMALL
from toy_family import FAMILY
from toy_family.bundle import CipherModel
from toy_family.words import CipherArch, CipherLayer, CipherRunConfig, CipherSpace, CipherWorkload
from toy_family.works import Alphabet

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.errors import ArchError
from mosdeploy.export.candidate import bundle_bytes
from mosdeploy.export.onnx.builder import state_arrays, write_model
from mosdeploy.spaces import ModelSpec
from mosdeploy.supernet.supernet import extract
from mosdeploy.training.trainer import TrainingJob, train

SPACE = CipherSpace(width=(8, 16), depth=(1, 2), hidden=(16, 32))
VOCAB_SIZE = 9
SPEC = ModelSpec(SPACE, VOCAB_SIZE, CipherWorkload(num_letters=5))
CONFIG = CipherRunConfig(letters={"path": "lines.txt"}, space=SPACE)


@pytest.fixture
def net() -> Any:
    return FAMILY.fresh_supernet(SPACE, VOCAB_SIZE, SupernetConfig(router_hidden_dim=8), seed=1)


@pytest.fixture(params=range(4))
def arch(request: pytest.FixtureRequest) -> CipherArch:
    if request.param < 2:
        return (SPACE.smallest, SPACE.largest)[request.param]
    return SPACE.sample(np.random.default_rng(request.param))


# -- laws that any family must keep


def test_spellings_of_an_architecture_agree(arch: CipherArch) -> None:
    assert SPACE.decode(SPACE.encode(arch)) == SPACE.from_genes(SPACE.to_genes(arch)) == arch
    assert SPACE.num_architectures == 2 * (2 + 4)


def test_another_familys_architecture_is_refused() -> None:
    with pytest.raises(ArchError, match="not of this family"):
        SPACE.check(SMALL.smallest)
    with pytest.raises(ArchError, match="not of this family"):
        SMALL.check(SPACE.smallest)


def test_costs_are_those_of_the_network(net: Any, arch: CipherArch) -> None:
    subnet = extract(net, arch)
    assert SPEC.num_parameters(arch) == sum(x.numel() for x in subnet.parameters())


def test_costs_worked_out_by_hand() -> None:
    arch = CipherArch(width=8, layers=(CipherLayer(hidden=16), CipherLayer(hidden=32)))
    assert SPEC.num_parameters(arch) == (9 * 16 + 17 * 8) + (9 * 32 + 33 * 8) + 9 * 8
    assert SPEC.num_macs(arch) == 5 * (2 * 8 * 16 + 2 * 8 * 32 + 8 * 9)
    features = SPEC.latency_features(SPEC.gene_rows([arch]))
    ffn, logits = 2e-6 * 5 * 8 * (16 + 32), 1e-6 * 5 * 9 * 8
    assert features == pytest.approx(np.array([[1, 2, ffn, logits]]))


def test_made_up_examples_fill_one_batch() -> None:
    num_tokens = CONFIG.training.tokens_per_batch
    [batch] = ordered_batches(FAMILY.made_up_dataset(CONFIG), num_tokens)
    assert batch.num_targets == num_tokens


def test_training_lowers_the_loss_of_every_subnet(net: Any, tmp_path: Path) -> None:
    tokenizer = Alphabet("abcdefgh")
    lines = ["".join(x) for x in np.random.default_rng(0).choice(list("abcdefgh"), (60, 5))]
    dataset = FAMILY.tokenize(tokenizer, lines, CONFIG)
    dataset.save(tmp_path / "tokens.npy")
    dataset = FAMILY.open_dataset(tmp_path / "tokens.npy")
    config = TrainingConfig(
        steps=20, tokens_per_batch=100, warmup_steps=2, learning_rate=1e-2, compute="cpu", threads=1
    )
    job = TrainingJob(config, tmp_path / "state", tmp_path / "log", "inputs")
    batches = Batches(dataset, config.tokens_per_batch, config.seed)
    summary = train(net, batches, ordered_batches(dataset, 1000), job)
    assert max(summary.losses["largest_loss"], summary.losses["smallest_loss"]) < np.log(8)


def write_bundle(net: Any, arch: CipherArch, spec: ModelSpec, folder: Path) -> int:
    """Model and tokenizer in a folder; gives the size of the model."""
    arrays = state_arrays(extract(net, arch).state_dict())
    model = FAMILY.build_graph(
        spec, arch, arrays, FAMILY.graph_options(CONFIG, SPEC.workload, None, None)
    )
    write_model(model, folder / "model.onnx")
    FAMILY.train_tokenizer(None, CONFIG, folder / "tokenizer.model")
    return (folder / "model.onnx").stat().st_size


def test_a_bundle_answers_as_torch_does(net: Any, arch: CipherArch, tmp_path: Path) -> None:
    write_bundle(net, arch, SPEC, tmp_path)
    lines = ["abc", "hhgfedcba", "d"]
    scored = FAMILY.scored_examples(Alphabet("abcdefgh"), lines, CONFIG, SPEC.workload, 3)
    expected = scored.predict(extract(net, arch), scored.input_ids)
    opened = FAMILY.open_bundle(tmp_path)
    assert isinstance(opened, CipherModel)
    assert opened.predict_ids(scored.input_ids) == expected
    assert opened.predict(lines) == [scored.decode(ids) for ids in expected]


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_bundle_bytes_are_those_of_the_file(precision: Any, tmp_path: Path) -> None:
    space = CipherSpace(width=(32, 64), depth=(1, 2), hidden=(128, 256))
    spec = ModelSpec(space, VOCAB_SIZE, CipherWorkload(precision=precision))
    net = FAMILY.fresh_supernet(space, VOCAB_SIZE, SupernetConfig(router_hidden_dim=8), seed=1)
    size = write_bundle(net, space.largest, spec, tmp_path)
    expected = bundle_bytes(spec, space.largest, FAMILY.build_graph)
    assert size == pytest.approx(expected, rel=0.01)


# -- the verbs, in a process that knows the family


@pytest.fixture(scope="module", params=[pytest.param("cipher", marks=pytest.mark.slow)])
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each verb gave, and under `root` the run folder."""
    root = tmp_path_factory.mktemp("cipher")
    done = run_python("-m", "toy_family", str(root), cwd=root)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "root": root}


def test_no_other_family_is_loaded_on_the_way(walked: dict[str, Any]) -> None:
    assert walked["families"] == ["cipher"]


def test_a_predictor_learns_made_up_times(walked: dict[str, Any]) -> None:
    assert walked["made_up"]["mape_percent"] < 3


def test_a_search_finds_the_best_within_the_limit(walked: dict[str, Any]) -> None:
    space = CipherSpace(width=(8, 16, 24), depth=(1, 2, 3), hidden=(16, 32, 48))
    spec = ModelSpec(space, VOCAB_SIZE, CipherWorkload())
    limit_ms = walked["made_up"]["limit_ms"]
    rng = np.random.default_rng(0)
    everything = list({space.sample(rng) for _ in range(3000)})
    assert len(everything) == space.num_architectures == 3 * (3 + 9 + 27)
    latency_ms = spec.latency_features(space.genes(everything)) @ [1.0, 0.5, 200.0, 300.0]
    allowed = [x for x, ms in zip(everything, latency_ms, strict=True) if ms <= limit_ms]
    winner = walked["made_up"]["winner"]
    best = max(spec.num_parameters(arch) for arch in allowed)
    assert winner["predicted_ms"] <= limit_ms
    assert winner["num_parameters"] == pytest.approx(best, rel=0.02)


def test_a_supernet_is_trained_and_scored(walked: dict[str, Any]) -> None:
    assert walked["train"]["vocab_size"] == VOCAB_SIZE
    scores = walked["evaluate"]["subnets"]
    assert list(scores)[:3] == ["largest", "smallest", "winner"]
    assert scores["largest"]["metrics"]["accuracy"] > 80
    assert scores["winner, finetuned"]["num_examples"] == scores["largest"]["num_examples"]


def test_a_profile_fits_a_predictor(walked: dict[str, Any]) -> None:
    profile = walked["profile"]
    assert (profile["measured_now"], profile["failed"]) == (14, 0)
    assert profile["card"]["workload"] == "line"
    assert walked["fit"]["dataset_sha256"] == profile["card"]["dataset_sha256"]
    assert all(ms > 0 for ms in walked["predicted_ms"])


def test_a_search_measures_its_winner(walked: dict[str, Any]) -> None:
    winner = walked["search"]["winner"]
    assert winner["arch"]["family"] == "cipher"
    assert winner["measured_ms"] > 0
    assert winner["size_bytes"] <= 20_000
    assert walked["predicted"]["winner"]["measured_ms"] is None
    assert walked["again"]


def test_a_winner_is_trained_alone(walked: dict[str, Any]) -> None:
    assert walked["finetune"]["arch"] == walked["search"]["winner"]["arch"]
    assert walked["finetune"]["weights"] == "finetuned"
    assert walked["scratch"]["loss"] < walked["scratch"]["start_loss"]


def test_a_bundle_is_exported_and_answers(walked: dict[str, Any]) -> None:
    manifest = walked["export"]
    assert manifest["family"] == "cipher"
    assert manifest["parity"]["identical"] == manifest["parity"]["num_examples"] > 10
    assert manifest["parity"]["metric"] == "accuracy"
    assert manifest["settings"]["max_letters"] == 12
    assert walked["int8"]["precision"] == "int8"
    assert walked["answers"] == ["bcd", "aa"]


def test_precisions_are_weighed_by_the_familys_metric(walked: dict[str, Any]) -> None:
    assert walked["precisions"][0] == "fp32"
    assert {"int8", "int4"} <= set(walked["precisions"])


def test_what_a_family_lacks_is_refused_by_name(walked: dict[str, Any]) -> None:
    refused = walked["refused"]
    assert refused["tvm"] == "ConfigError: 'cipher' has no TVM export; choose --runtime onnxruntime"
    assert refused["beam"].startswith("ConfigError: models of this family have no beam: leave it")
    assert "'family' must be encoder or translation" in refused["deploy"]  # until runtime/ knows it


def test_the_report_has_the_familys_words(walked: dict[str, Any]) -> None:
    page = (walked["root"] / "report" / "index.html").read_text()
    for part in ("answers a line", "8 letters", "<figure>no <b>drawing</b></figure>", "accuracy"):
        assert part in page
    assert walked["report"]["search"]["winner"] == walked["search"]["winner"]
