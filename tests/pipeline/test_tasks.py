"""One supernet that knows no labels serves tasks that have them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from encoder_walking import TASK, examples, make_encoder_folder
from walking import edit, opened

from mosdeploy.api import RunFolder
from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run

TAGS = TASK.replace("classification", "tagging").replace('"bad", "good"', '"BAD", "GOOD"')


@pytest.fixture(scope="module", params=["embedding", "masked-lm"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose supernet was trained without labels; tests must not change it."""
    folder = tmp_path_factory.mktemp("agnostic") / request.param
    root = make_encoder_folder(folder, request.param)
    opened(root).train()
    return root


@pytest.fixture
def agnostic(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil, with a device of its own."""
    root = Path(shutil.copytree(trained, tmp_path / trained.name))
    edit(root / "device_profiles" / "local.toml", str(trained), str(root))
    return root


def make_task(base: Path, content: str = TASK, kind: str = "classification") -> Path:
    """A run folder of a task in that of its supernet."""
    root = base / "runs" / "mood"
    (root / "data").mkdir(parents=True)
    lines = [json.dumps(row) for row in examples(kind)]
    (root / "data" / "labelled.jsonl").write_text("\n".join(lines) + "\n")
    (root / "mosdeploy.toml").write_text(f'supernet_from = "../.."\n{content}')
    return root


def served(base: Path, content: str = TASK, kind: str = "classification") -> RunFolder:
    return opened(make_task(base, content, kind))


@pytest.mark.slow
def test_each_verb_works_in_the_folder_of_a_task(agnostic: Path) -> None:
    run = opened(agnostic)
    winner = run.search(max_parameters=10**9, verify=False, statistic="p99").winner.arch
    task = served(agnostic)
    assert task.status().next_command == "mosdeploy train"
    assert task.train() == task.train()
    assert task.status().next_command == "mosdeploy search"
    with pytest.raises(ConfigError, match="without"):
        task.search("10s")
    assert task.search().winner.arch == winner
    assert task.status().next_command == "mosdeploy finetune"
    card = task.finetune()
    assert (card.arch, card.weights, card.steps) == (winner, "finetuned", 150)
    assert card.loss < card.start_loss
    scores = task.evaluate(("winner",)).subnets
    assert scores["winner, finetuned"].metrics["accuracy"] > 90
    found = trained_run(open_run(task.root)).search_result()
    assert (found.limits.max_parameters, found.statistic) == (10**9, "p99")
    assert all(x.predicted_ms is x.measured_ms is None for x in found.front)
    exported = task.export()
    assert exported.manifest.arch == winner and exported.manifest.weights == "finetuned"
    assert task.predict(["the film is bright", "it was dull and long"]) == ["good", "bad"]
    assert task.deploy().self_test_passed
    assert task.report().report.search.winner.arch == winner


@pytest.mark.slow
def test_the_body_is_the_supernets_and_the_head_is_fresh(agnostic: Path) -> None:
    task = served(agnostic, TAGS, "tagging")
    task.train()
    found = trained_run(open_run(task.root))
    own = trained_run(open_run(agnostic))
    arch = own.arch("smallest")
    body = own.subnet(arch).state_dict()
    weights = found.subnet(arch).state_dict()
    for name, tensor in body.items():
        if not name.startswith("head."):
            assert torch.equal(weights[name], tensor), name
    assert weights["head.out.weight"].shape == (5, 16)  # O, and B and I of two types
    assert found.teacher is None
    assert task.finetune("largest", steps=2).steps == 2


@pytest.mark.slow
def test_a_task_of_another_supernet_is_stale(agnostic: Path) -> None:
    task = served(agnostic)
    task.train()
    assert task.finetune("smallest", steps=1).steps == 1
    edit(agnostic / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    opened(agnostic).train()
    with pytest.raises(StaleInputError, match=r"supernet in .* has changed.*mosdeploy train"):
        task.evaluate(("smallest",))
    task.train()
    with pytest.raises(StaleInputError, match="mosdeploy search"):
        task.search()  # that supernet was not searched


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TASK + "[space]\nlayers = [1]\n", "space follow from the supernet in"),
        (TASK + "[checkpoint]\nvocab_size = 61\n", "checkpoint follow from the supernet in"),
        (TASK.replace("24", "25"), r"may have 25 tokens, but space\.max_positions is 24"),
        (TASK.replace('"classification"', '"embedding"').replace("labels", "#"), "not embedding"),
        (TASK.replace("labelled", "missing"), r"missing\.jsonl: cannot be read"),
        (TASK.replace("classification", "guessing"), "kind"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(agnostic: Path, content: str, message: str) -> None:
    root = make_task(agnostic, content)
    with pytest.raises(ConfigError, match=message):
        opened(root).train()
    assert not (root / "supernet" / "supernet.json").exists()


def test_a_task_says_only_what_is_its_own(agnostic: Path) -> None:
    deployed = '[deploy]\nname = "mine"\n[training]\nbudget = 9'
    edit(agnostic / "mosdeploy.toml", "[training]", deployed)
    text = (agnostic / "mosdeploy.toml").read_text()
    space = text.partition("[space]\n")[2].partition("[supernet]")[0]
    own = open_run(make_task(agnostic, f'family = "encoder"\n{TASK}[space]\n{space}')).config
    base = open_run(agnostic).config
    assert own.training.tokens_per_batch == base.training.tokens_per_batch
    assert (own.finetune.steps, own.training.budget) == (150, None)
    assert own.deploy.name is None  # or tasks would take each other's place


def test_a_supernet_that_answers_nothing_has_no_bundle(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "run", "masked-lm")
    assert not [x for x in opened(root).status().parts if x.what in ("bundle", "deployment")]


@pytest.mark.slow
def test_supernets_that_know_labels_serve_no_other_task(
    trained_encoder: Path, walked: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(trained_encoder, tmp_path / "encoder"))
    with pytest.raises(ConfigError, match="the supernet was trained for one classification"):
        served(base).train()
    base = Path(shutil.copytree(walked, tmp_path / "translation"))
    root = base / "runs" / "other"
    root.mkdir(parents=True)
    shutil.copytree(base / "data", root / "data")
    (root / "mosdeploy.toml").write_text('supernet_from = "../.."\n')
    with pytest.raises(ConfigError, match="a supernet of 'translation' serves no other tasks"):
        opened(root).train()
