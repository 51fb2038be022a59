"""The table of artifacts: the state of each, what makes it stale, and what to run next."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from walking import add_device, change_data, change_workload, damage, edit, make_run_folder, opened

from mosdeploy.errors import MosdeployError
from mosdeploy.records import SearchResult
from mosdeploy.run_folder.artifact import JOB_NAME, Artifact, JobRecord
from mosdeploy.run_folder.catalog import Catalog
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.summaries import Part
from mosdeploy.storage import locked, read_record, write_record
from mosdeploy.workspace import Workspace


def parts(root: Path) -> dict[str, Part]:
    return {part.what: part for part in reversed(opened(root).status().parts)}


def artifact(root: Path, name: str) -> Artifact:
    return next(x for x in Catalog(Context(open_run(root))).wanted() if x.name == name)


def test_an_empty_folder_lacks_all_and_is_trained_first(tmp_path: Path) -> None:
    found = opened(make_run_folder(tmp_path)).status()
    assert found.next_command == "mosdeploy train"
    assert {part.state for part in found.parts} == {"missing"}


def test_after_a_walk_all_is_ok_and_looking_writes_nothing(walked: Path) -> None:
    def files() -> dict[Path, int]:
        return {x: x.stat().st_mtime_ns for x in walked.rglob("*") if x.is_file()}

    before = files()
    found = opened(walked).status()
    assert files() == before
    # this walk left out the training of the winner alone
    assert {x.what: x.state for x in found.parts if x.state != "ok"} == {"subnet": "missing"}
    assert found.next_command == "mosdeploy finetune"
    details = {x.what: x.detail for x in found.parts}
    assert "12 subnets" in details["dataset"]
    assert "limit 10000 ms" in details["search"]


def change_space(root: Path) -> None:
    edit(root / "mosdeploy.toml", "decoder_layers = [1, 2]", "decoder_layers = [1]")


def change_training(root: Path) -> None:
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 13")


def forget_a_measurement(root: Path) -> None:
    path = next(root.glob("predictors/*/latency.jsonl"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def search_again(root: Path) -> None:
    path = Workspace(root).search_result_path
    result = read_record(SearchResult, path, "")
    write_record(path, result.model_copy(update={"seed": result.seed + 1}))
    os.utime(path, (0, 0))  # as a copy may leave it


def damage_supernet(root: Path) -> None:
    damage(Workspace(root).supernet_path)


def damage_bundle(root: Path) -> None:
    damage(next(root.glob("bundles/*/manifest.json")))


@pytest.mark.parametrize(
    ("change", "stale", "told", "next_command"),
    [
        (change_data, {"data", "supernet", "search"}, "the data has changed", "train"),
        (change_space, {"supernet", "dataset", "search"}, "space.decoder_layers was", "train"),
        (change_training, {"supernet", "bundle"}, "training.steps was 12, is 13 now", "train"),
        (damage_supernet, {"supernet", "search"}, "is not the file that supernet.json", "train"),
        (change_workload, {"dataset", "predictor", "search"}, "workload", "profile"),
        (forget_a_measurement, {"predictor"}, "the dataset has changed", "fit"),
        (search_again, {"bundle", "report"}, "the search has changed", "finetune"),
        (damage_bundle, {"bundle"}, "manifest.json", "finetune"),
    ],
)
def test_each_input_makes_stale_what_was_made_from_it(
    folder: Path, change: Callable[[Path], None], stale: set[str], told: str, next_command: str
) -> None:
    change(folder)
    found = opened(folder).status()
    states = {x.what: x for x in found.parts if x.state == "stale"}
    assert states.keys() >= stale
    assert any(told in x.detail for x in states.values())
    assert str(found.next_command).startswith(f"mosdeploy {next_command}")


@pytest.mark.parametrize("name", ["supernet", "dataset", "search", "subnet"])
def test_what_is_made_now_is_waited_for(folder: Path, name: str) -> None:
    found = artifact(folder, name)
    with locked(found.lock or found.folder, MosdeployError("held")):
        assert parts(folder)[name].state == "running"
        assert parts(folder)[name].command is None


@pytest.mark.parametrize("name", ["supernet", "subnet"])
@pytest.mark.parametrize("is_equal", [True, False], ids=["equal inputs", "other inputs"])
def test_a_stopped_one_goes_on_only_from_the_same_inputs(
    folder: Path, name: str, is_equal: bool
) -> None:
    found = artifact(folder, name)
    other = {} if is_equal else {next(iter(found.inputs())): "sha256:other"}
    job = JobRecord(command="mosdeploy x --y", inputs={**found.inputs(), **other})
    if name == "supernet":
        shutil.rmtree(found.folder)
    write_record(found.new_folder / JOB_NAME, job)
    state = artifact(folder, name).state()
    assert state.state == "stopped"
    assert state.command == ("mosdeploy x --y" if is_equal else None)
    assert ("delete" in state.detail) is not is_equal


def test_a_stopped_search_is_proposed_again(folder: Path) -> None:
    job = JobRecord(command="mosdeploy search --max-latency 7ms", inputs={})
    write_record(Workspace(folder).search_result_path.with_name(JOB_NAME), job)
    found = parts(folder)["search"]
    assert (found.state, found.command) == ("stopped", job.command)


def test_data_that_are_gone_are_told_first(folder: Path) -> None:
    (folder / "data" / "train.de").unlink()
    found = opened(folder).status()
    assert "no such file" in found.parts[0].detail
    assert opened(folder).status(read_data=False).parts[0].state == "ok"


def test_a_search_is_proposed_with_a_limit_that_was_measured(folder: Path) -> None:
    Workspace(folder).search_result_path.unlink()
    command = str(opened(folder).status().next_command)
    assert command.startswith("mosdeploy search --max-latency ")
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nmax_latency = "5ms"')
    assert opened(folder).status().next_command == "mosdeploy search"


def test_a_report_is_stale_once_it_shows_others_than_are_there(folder: Path) -> None:
    opened(folder).report()
    path = Workspace(folder).scores_path
    os.utime(path, (0, 0))
    assert parts(folder)["report"].state == "ok"
    table = json.loads(path.read_text())
    table["subnets"]["winner"]["loss"] += 1
    path.write_text(json.dumps(table))
    assert "the evaluation has changed" in parts(folder)["report"].detail


def test_a_second_device_is_listed_and_not_wanted(folder: Path) -> None:
    add_device(folder, "other")
    devices = [x.name for x in opened(folder).status().parts if x.what == "dataset"]
    assert devices[0] == "local"
    assert opened(folder).status().next_command == "mosdeploy finetune"
