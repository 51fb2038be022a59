"""What a run folder holds, what is stale in it, and what to run next."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_python
from walking import (
    add_device,
    change_data,
    change_workload,
    damage,
    edit,
    make_run_folder,
    opened,
    part,
)

from mosdeploy.cli import main
from mosdeploy.records import DataCard, Deployment, ScoreTable, SearchResult
from mosdeploy.storage import read_record, write_record
from mosdeploy.workspace import Workspace


def states(root: Path) -> dict[str, str]:
    return {part.what: part.state for part in opened(root).status().parts}


def test_an_empty_folder_lacks_all_but_its_data(tmp_path: Path) -> None:
    found = opened(make_run_folder(tmp_path)).status()
    assert found.next_command == "mosdeploy train"
    assert {x.what: x.state for x in found.parts} == {
        "data": "ok",
        "tokenizer": "missing",
        "supernet": "missing",
        "measurements": "missing",
        "search": "missing",
        "scores": "missing",
        "bundle": "missing",
        "deployment": "missing",
        "report": "missing",
    }


def test_after_a_walk_all_is_there_and_nothing_is_written(walked: Path) -> None:
    def files() -> dict[Path, int]:
        return {x: x.stat().st_mtime_ns for x in walked.rglob("*") if x.is_file()}

    before = files()
    found = opened(walked).status()
    assert files() == before
    # but for the training of the winner alone, which this walk left out
    assert {x.what: x.state for x in found.parts if x.state != "ok"} == {"finetuned": "missing"}
    assert found.next_command == "mosdeploy finetune"
    details = {x.what: x.detail for x in found.parts}
    assert "12 subnets" in details["measurements"]
    assert "limit 10000 ms" in details["search"]


@pytest.mark.parametrize("words", ["train", "evaluate --pick smallest"])
def test_verbs_end_with_what_status_proposes(words: str, folder: Path, monkeypatch, capsys) -> None:
    for path in (folder / "bundles", folder / "deployments", folder / "reports"):
        shutil.rmtree(path, ignore_errors=True)
    if words == "train":
        shutil.rmtree(folder / "search")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", *words.split()])
    with pytest.raises(SystemExit):
        main()
    proposed = opened(folder).status().next_command
    assert capsys.readouterr().err.endswith(f"next: {proposed}\n")
    assert proposed.startswith(f"mosdeploy {'search' if words == 'train' else 'finetune'}")


def change_space(root: Path) -> None:
    edit(root / "mosdeploy.toml", "decoder_layers = [1, 2]", "decoder_layers = [1]")


def forget_a_measurement(root: Path) -> None:
    path = next(root.glob("predictors/*/latency.jsonl"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def search_again(root: Path) -> None:
    path = root / "search" / "result.json"
    result = read_record(SearchResult, path, "")
    write_record(path, result.model_copy(update={"seed": result.seed + 1}))
    os.utime(path, (0, 0))  # as a copy may leave it


def spoil_bundle(root: Path) -> None:
    damage(next(root.glob("bundles/*/manifest.json")))


def stop_a_training(root: Path) -> None:
    (root / "supernet" / "supernet.json").unlink()
    (root / "supernet" / "checkpoint.pt").touch()


@pytest.mark.parametrize(
    ("spoil", "stale", "why", "next_command"),
    [
        (change_data, {"tokenizer", "supernet"}, "the data is not the one", "train"),
        (change_space, {"supernet", "measurements", "predictor"}, "the search space", "train"),
        (change_workload, {"measurements", "predictor", "search"}, "workload", "profile"),
        (forget_a_measurement, {"predictor"}, "before the last measurements", "fit"),
        (search_again, {"bundle", "report"}, "another search is there now", "finetune"),
        (spoil_bundle, {"bundle"}, "manifest.json", "finetune"),
        (stop_a_training, {"supernet", "search"}, "a training was stopped", "train"),
    ],
)
def test_what_changed_makes_stale_what_was_made_from_it(
    folder: Path, spoil: Callable[[Path], None], stale: set[str], why: str, next_command: str
) -> None:
    spoil(folder)
    found = opened(folder).status()
    parts = {x.what: x for x in found.parts if x.state == "stale"}
    assert parts.keys() >= stale
    assert any(why in x.detail for x in parts.values())
    assert found.next_command.startswith(f"mosdeploy {next_command}")


def test_data_that_is_gone_is_told_and_not_read_if_asked(folder: Path) -> None:
    (folder / "data" / "train.de").unlink()
    assert part(folder, "data").state == "stale"
    assert "no such file" in part(folder, "data").detail
    assert opened(folder).status().next_command is None  # as every command would refuse them
    assert opened(folder).status(read_data=False).parts[0].detail == "not read"


def test_a_search_is_proposed_with_a_limit_that_was_measured(folder: Path) -> None:
    (folder / "search" / "result.json").unlink()
    command = opened(folder).status().next_command
    assert command.startswith("mosdeploy search --max-latency ")
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nmax_latency = "5ms"')
    assert opened(folder).status().next_command == "mosdeploy search"


def test_a_report_is_stale_once_it_shows_others_than_are_there(folder: Path) -> None:
    run = opened(folder)
    run.report()
    os.utime(Workspace(folder).search_result_path)  # newer, but the same
    assert part(folder, "report").state == "ok"
    changes = {
        "evaluation": lambda: run.evaluate(("1",)),
        "bundle": lambda: run.export("smallest"),
        "predictor": lambda: add_device(folder, "other"),
        "finetuning": lambda: run.finetune(steps=1),
    }
    for name, change in changes.items():
        change()
        found = part(folder, "report")
        assert (found.state, found.command) == ("stale", "mosdeploy report")
        assert found.detail == f"the {name} has changed"
        run.report()
        assert part(folder, "report").state == "ok"


def test_one_subnet_is_one(folder: Path) -> None:
    path = Workspace(folder).scores_path
    path.unlink()
    opened(folder).evaluate(("winner",))
    assert part(folder, "scores").detail == "of 1 subnet"


def test_scores_of_others_alone_lack_the_winner(folder: Path) -> None:
    path = Workspace(folder).scores_path
    table = read_record(ScoreTable, path, "")
    winner = table.subnets["winner"].arch
    others = {name: x for name, x in table.subnets.items() if x.arch != winner}
    write_record(path, table.model_copy(update={"subnets": others}))
    assert part(folder, "scores").detail == "without the inherited winner"


def test_without_test_examples_nothing_is_to_be_scored(folder: Path) -> None:
    path = Workspace(folder).data_card_path
    card = read_record(DataCard, path, "")
    Workspace(folder).scores_path.unlink()
    assert part(folder, "scores").state == "missing"
    write_record(path, card.model_copy(update={"num_test": 0}))
    assert part(folder, "scores").state == "unused"


def test_another_bundle_than_the_deployed_one_is_told(folder: Path) -> None:
    path = next(folder.glob("deployments/*.json"))
    text = path.read_text()
    start = text.index('"bundle_sha256": "') + len('"bundle_sha256": "')
    path.write_text(text[:start] + "0" * 8 + text[start + 8 :])
    assert "is newer" in part(folder, "deployment").detail


def test_a_limit_on_memory_is_judged_beside_that_on_latency(folder: Path) -> None:
    path = next(folder.glob("deployments/*.json"))
    done = Deployment.model_validate_json(path.read_text())
    taken = done.measurement.model_copy(update={"memory_bytes": 300 * 2**20})
    changes = {"measurement": taken, "max_memory_bytes": 200 * 2**20}
    write_record(path, done.model_copy(update=changes))
    detail = part(folder, "deployment").detail
    assert detail.endswith("limit 10000 ms kept, 300.0 MiB of memory, limit 200 MiB NOT kept")
    page = opened(folder).report().page.read_text()
    assert 'ms <span class="good">kept</span>, 300 MiB of 200' in page
    assert 'MiB <span class="bad">broken</span>' in page


def test_scores_with_another_length_penalty_are_stale(folder: Path) -> None:
    assert part(folder, "scores").state == "ok"
    edit(folder / "mosdeploy.toml", "[export]", "[export]\nlength_penalty = 1.5")
    found = part(folder, "scores")
    assert (found.state, found.command) == ("stale", "mosdeploy evaluate")
    assert opened(folder).report().report.headline.metrics == {}
    opened(folder).evaluate()
    assert part(folder, "scores").state == "ok"


@pytest.mark.parametrize("damage_card", [Path.unlink, damage])
def test_a_lost_card_of_the_data_is_written_again(
    folder: Path, damage_card: Callable[[Path], None]
) -> None:
    path = Workspace(folder).data_card_path
    before = path.read_bytes()
    damage_card(path)
    assert opened(folder).status().next_command == "mosdeploy train"
    opened(folder).train()
    assert path.read_bytes() == before
    assert opened(folder).status().next_command != "mosdeploy train"


def test_scores_of_weights_that_were_trained_again_are_stale_and_not_shown(folder: Path) -> None:
    run = opened(folder)
    run.finetune(steps=1)
    scores = part(folder, "scores")
    assert (scores.state, scores.detail) == ("stale", "without the finetuned winner")
    assert run.status().next_command == "mosdeploy evaluate"
    name = "winner, finetuned"
    assert name in run.evaluate(("winner",)).subnets
    assert part(folder, "scores").state == "ok"
    run.finetune(steps=2)
    scores = part(folder, "scores")
    assert (scores.state, scores.detail) == ("stale", f"of earlier weights: {name}")
    shown = run.report().report.scores
    assert shown is not None
    assert "winner" in shown.subnets
    assert name not in shown.subnets


def test_a_deployment_from_before_the_folder_was_renamed_is_stale(folder: Path) -> None:
    assert part(folder, "deployment").state == "ok"
    renamed = folder.rename(folder.with_name("renamed"))
    found = part(renamed, "deployment")
    told = f"it is in '{folder.name}' there, this folder's is 'renamed'"
    assert (found.state, found.detail) == ("stale", told)
    path = renamed / "mosdeploy.toml"
    path.write_text(f'{path.read_text()}\n[deploy]\nname = "{folder.name}"\n')
    assert part(renamed, "deployment").state == "ok"


def test_every_limit_of_a_search_is_told(folder: Path) -> None:
    opened(folder).search("10s", max_parameters=10**6, max_size_bytes=500 << 20, verify=False)
    detail = part(folder, "search").detail
    assert detail.endswith("limit 10000 ms, max_parameters = 1,000,000, max_size = 500 MiB")


@pytest.mark.slow
def test_what_computes_with_no_weights_imports_no_torch(folder: Path) -> None:
    """Half of the time of a short command, or more, would go there."""
    program = (
        "import sys, mosdeploy\n"
        "run = mosdeploy.open_run('.')\n"
        "run.profile(), run.fit(), run.status(), run.report()\n"
        "assert 'torch' not in sys.modules"
    )
    done = run_python("-c", program, cwd=folder)
    assert done.returncode == 0, done.stderr
