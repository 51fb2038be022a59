"""One supernet that knows no labels serves tasks that have them."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from encoder_walking import TASK, examples, make_encoder_folder
from walking import damage, edit, opened

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.pipeline import same_time
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import sha256_file

TAGS = TASK.replace("classification", "tagging").replace('"bad", "good"', '"BAD", "GOOD"')


@pytest.fixture(scope="module", params=["embedding", "masked-lm"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose supernet was trained without labels, and tasks beside it; tests must not
    change it.
    """
    folder = tmp_path_factory.mktemp("agnostic") / request.param
    root = make_encoder_folder(folder, request.param)
    for name, kind in (("labelled", "classification"), ("tagged", "tagging")):
        lines = [json.dumps(row) for row in examples(kind)]
        (root / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (root / "tasks").mkdir()
    (root / "tasks" / "mood.toml").write_text(TASK)
    (root / "tasks" / "tags.toml").write_text(TAGS.replace("labelled", "tagged"))
    opened(root).train()
    return root


@pytest.fixture
def agnostic(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil, with a device of its own."""
    root = Path(shutil.copytree(trained, tmp_path / trained.name))
    edit(root / "device_profiles" / "local.toml", str(trained), str(root))
    return root


@pytest.mark.slow
def test_each_verb_works_in_the_folder_of_a_task(agnostic: Path) -> None:
    run = opened(agnostic)
    run.search(max_parameters=10**9, verify=False)
    winner = run.search(max_parameters=10**9, verify=False, statistic="p99").winner.arch
    card = run.finetune(task=agnostic / "tasks" / "mood.toml")
    assert (card.arch, card.weights, card.steps) == (winner, "finetuned", 150)
    assert card.loss < card.start_loss
    task = run.task("mood")
    assert task.root == agnostic / "runs" / "mood"
    assert task.config.title == "classification"
    scores = task.evaluate(("winner",)).subnets
    assert scores["winner, finetuned"].metrics["accuracy"] > 90
    assert task.train().steps == run.train().steps  # as it was
    exported = task.export()
    assert trained_run(open_run(task.root)).search_result().statistic == "p99"
    assert exported.manifest.arch == winner and exported.manifest.weights == "finetuned"
    assert task.predict(["the film is bright", "it was dull and long"]) == ["good", "bad"]
    assert task.deploy().self_test_passed
    assert task.report().report.search.winner.arch == winner


@pytest.mark.slow
def test_a_member_of_the_front_keeps_the_limits_of_its_search(agnostic: Path) -> None:
    run = opened(agnostic)
    edit(agnostic / "mosdeploy.toml", "[training]", '[deploy]\nname = "mine"\n[training]')
    run.search(max_parameters=10**9, verify=False, statistic="p99")
    run.finetune("1", steps=1, task=agnostic / "tasks" / "tags.toml")
    task = open_run(agnostic / "runs" / "tags")
    found = trained_run(task).search_result()
    assert (found.limits.max_parameters, found.statistic) == (10**9, "p99")
    assert task.config.deploy.name is None  # or tasks would take each other's place


@pytest.mark.slow
def test_the_body_is_the_supernets_and_the_head_is_fresh(agnostic: Path) -> None:
    run = opened(agnostic)
    run.finetune("smallest", steps=1, task=agnostic / "tasks" / "tags.toml")
    served = trained_run(open_run(agnostic / "runs" / "tags"))
    own = trained_run(open_run(agnostic))
    arch = own.arch("smallest")
    assert served.arch("winner") == arch
    body = own.subnet(arch).state_dict()
    found = served.subnet(arch).state_dict()
    for name, tensor in body.items():
        if not name.startswith("head."):
            assert torch.equal(found[name], tensor), name
    assert found["head.out.weight"].shape == (5, 16)  # O, and B and I of two types
    assert served.teacher is None


@pytest.mark.slow
def test_the_same_command_leaves_what_is_finished(agnostic: Path) -> None:
    path = agnostic / "tasks" / "tags.toml"
    run = opened(agnostic)
    first = run.finetune("largest", steps=2, task=path)
    supernet = agnostic / "runs" / "tags" / "supernet" / "supernet.safetensors"
    digest = sha256_file(supernet)
    assert run.finetune("largest", steps=2, task=path) == first
    assert sha256_file(supernet) == digest


def test_a_task_folder_trains_and_searches_nothing_itself(agnostic: Path) -> None:
    opened(agnostic).finetune("largest", steps=1, task=agnostic / "tasks" / "tags.toml")
    task = opened(agnostic).task("tags")
    with pytest.raises(ConfigError, match="was chosen when its folder was made"):
        task.search("10s")
    with pytest.raises(ConfigError, match="is the folder of a task"):
        task.finetune(task=agnostic / "tasks" / "mood.toml")
    edit(task.root / "mosdeploy.toml", "valid_fraction = 0.15", "valid_fraction = 0.2")
    with pytest.raises(ConfigError, match="the supernet of this task is that of"):
        opened(agnostic).task("tags").train()
    with pytest.raises(StaleInputError, match="the data is not the one"):
        opened(agnostic).task("tags").evaluate(("winner",))
    with pytest.raises(ConfigError, match=r"no task 'other' in .*runs; known: tags;"):
        opened(agnostic).task("other")


@pytest.mark.slow
def test_a_stale_task_folder_names_the_command_that_makes_it(agnostic: Path) -> None:
    path = agnostic / "tasks" / "tags.toml"
    opened(agnostic).finetune("largest", steps=1, task=path)
    task = agnostic / "runs" / "tags"
    again = re.escape(f"run `mosdeploy finetune --task {path} --dir {agnostic}` again")

    def refused(reason: str) -> None:
        with pytest.raises(StaleInputError, match=f"{reason}.*{again}"):
            opened(agnostic).task("tags").evaluate(("winner",))

    edit(task / "mosdeploy.toml", "valid_fraction = 0.15", "valid_fraction = 0.2")
    refused("the data is not the one")
    edit(task / "mosdeploy.toml", "head_dim = 8", "head_dim = 16")
    refused("the search space in mosdeploy.toml is not the one")
    # what it says to do does it
    opened(agnostic).finetune("largest", steps=1, task=path)
    assert opened(agnostic).task("tags").evaluate(("winner",)).subnets
    damage(task / "supernet" / "supernet.safetensors")
    refused("is not the file that supernet.json was written for")
    opened(agnostic).finetune("smallest", steps=1, task=path)
    result = task / "search" / "result.json"
    found = json.loads(result.read_text())
    result.write_text(json.dumps({**found, "supernet_sha256": "0" * 64}))
    refused("was found in another supernet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TASK + "[space]\n{space}", r"of a task for another supernet: its \[space\] differs"),
        (TASK + "[checkpoint]\nvocab_size = 61\n", r"supernet: its \[checkpoint\] differs"),
        ('family = "translation"\n' + TASK, "corpus"),
        (TASK + "[search]\npopulation = 9\n", r"may have training, .* but not search"),
        ("[finetune]\nsteps = 2\n", r"a task's file has a section \[task\]"),
        (TASK.replace("24", "25"), r"may have 25 tokens, but space\.max_positions is 24"),
        (TASK.replace('"classification"', '"embedding"').replace("labels", "#"), "not embedding"),
        (TASK.replace("labelled", "missing"), r"missing\.jsonl: cannot be read"),
        (TASK.replace("classification", "guessing"), "kind"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(
    agnostic: Path, tmp_path: Path, content: str, message: str
) -> None:
    text = (agnostic / "mosdeploy.toml").read_text()
    space = text.partition("[space]\n")[2].partition("[supernet]")[0]
    path = tmp_path / "wrong.toml"
    path.write_text(content.replace("{space}", space.replace("ffn_dim = [16", "ffn_dim = [8, 16")))
    with pytest.raises(ConfigError, match=message):
        opened(agnostic).finetune("largest", task=path)
    assert not (agnostic / "runs" / "wrong").exists()


def test_a_whole_run_file_of_the_same_supernet_is_a_task(agnostic: Path, tmp_path: Path) -> None:
    text = (agnostic / "mosdeploy.toml").read_text()
    space = text.partition("[space]\n")[2].partition("[supernet]")[0]
    path = tmp_path / "same.toml"
    path.write_text(f'family = "encoder"\n{TASK}[space]\n{space}')
    assert opened(agnostic).finetune("smallest", steps=1, task=path).steps == 1


def test_a_supernet_that_answers_nothing_is_delivered_by_its_tasks(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "run", "masked-lm")
    (bundle,) = (x for x in opened(root).status().parts if x.what in ("bundle", "deployment"))
    assert (bundle.state, bundle.command) == ("missing", "mosdeploy finetune --task FILE")
    (root / "runs" / "mood").mkdir(parents=True)
    (root / "runs" / "mood" / "mosdeploy.toml").touch()
    (bundle,) = (x for x in opened(root).status().parts if x.what in ("bundle", "deployment"))
    assert (bundle.state, bundle.command) == ("unused", None)
    assert bundle.detail == "those of tasks are in runs/: mood"


@pytest.mark.slow
def test_a_task_gets_the_steps_that_a_budget_left_to_a_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_encoder_folder(tmp_path / "run", "masked-lm")
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 12\nbudget = 9")
    rows = [json.dumps(row) for row in examples("classification")]
    (root / "data" / "labelled.jsonl").write_text("\n".join(rows) + "\n")
    run = opened(root)
    left = 9 - run.train().steps
    path = tmp_path / "mood.toml"
    path.write_text(TASK.replace("steps = 150", "learning_rate_share = 0.5"))
    assert run.finetune("smallest", task=path).steps == left
    path.write_text(TASK.replace("steps = 150", f"steps = {left + 1}"))
    assert run.finetune("smallest", task=path).steps == left + 1
    # from scratch those that the supernet had as well, which are not those of the run file
    scratch = run.finetune("smallest", from_scratch=True, task=path)
    assert scratch.steps == left + 1 + run.train().steps
    training = run.task("mood").config.training
    assert (training.steps, training.warmup_steps) == (1, 0)
    # of a time as many as take as long, but not in place of those that the file says
    monkeypatch.setattr(same_time, "_turn", lambda *_: 2.0)
    card = root / "supernet" / "supernet.json"
    told = json.loads(card.read_text())
    timed = {**told["budget"], "time_s": 60.0, "same_time": True}
    card.write_text(json.dumps({**told, "budget": timed}))
    path.write_text(TASK.replace("steps = 150", f"steps = {left + 1}"))
    assert opened(root).finetune("smallest", task=path).steps == left + 1
    path.write_text(TASK.replace("steps = 150", "learning_rate_share = 0.5"))
    assert opened(root).finetune("smallest", task=path).steps == 2 * left


@pytest.mark.slow
def test_supernets_that_know_labels_serve_no_other_task(
    trained_encoder: Path, walked: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mood.toml"
    path.write_text(TASK.replace("labelled", "train"))
    with pytest.raises(ConfigError, match="the supernet was trained for one classification"):
        opened(trained_encoder).finetune("largest", task=path)
    with pytest.raises(ConfigError, match="a supernet of 'translation' serves no other tasks"):
        opened(walked).finetune("largest", task=path)
