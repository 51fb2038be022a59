"""What a run folder holds, what is stale in it, and what to run next."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_python
from encoder_walking import make_encoder_folder
from walking import KeptProgress, add_device, damage, edit, make_run_folder, opened

from mosdeploy.cli import main
from mosdeploy.errors import DeviceBusyError, InfeasibleError, OtherConditionsError, StaleInputError
from mosdeploy.locks import locked
from mosdeploy.pipeline.bundles import folder_bytes
from mosdeploy.pipeline.predictors import predictor
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.summaries import Part, RunStatus
from mosdeploy.printable import byte_size
from mosdeploy.records import DataCard, Deployment, ScoreTable, SearchResult
from mosdeploy.storage import read_record, write_record
from mosdeploy.workspace import Workspace


def states(root: Path) -> dict[str, str]:
    return {part.what: part.state for part in opened(root).status().parts}


def part(root: Path, what: str) -> Part:
    return next(x for x in opened(root).status().parts if x.what == what)


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


def change_data(root: Path) -> None:
    path = root / "data" / "train.en"
    path.write_text(path.read_text().replace("one two", "two one"))


def change_space(root: Path) -> None:
    edit(root / "mosdeploy.toml", "decoder_layers = [1, 2]", "decoder_layers = [1]")


def change_workload(root: Path) -> None:
    edit(root / "mosdeploy.toml", "source_len = 6", "source_len = 7")


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


@pytest.mark.slow
def test_what_no_longer_counts_is_measured_again_as_proposed(folder: Path) -> None:
    change_workload(folder)
    assert opened(folder).status().next_command == "mosdeploy profile --device local --renew"
    path = Workspace(folder).latency_path("local", "sentence")
    before = path.read_bytes()
    with pytest.raises(OtherConditionsError, match="with --renew it measures all again"):
        opened(folder).profile("local")
    assert opened(folder).profile("local", renew=True).measured_now == 12
    assert path.with_suffix(".old").read_bytes() == before
    assert part(folder, "measurements").state == part(folder, "predictor").state == "ok"
    # what counts is not measured again
    assert opened(folder).profile("local", renew=True).measured_now == 0


def test_a_renewal_that_was_killed_leaves_no_predictor_of_before(folder: Path) -> None:
    change_workload(folder)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=0)).profile("local", renew=True)
    found = {x.what for x in opened(folder).status().parts if x.name == "local"}
    assert "predictor" not in found
    with pytest.raises(StaleInputError, match="run `mosdeploy profile --device local` first"):
        predictor(open_run(folder), "local")


def test_measurements_of_a_device_without_a_profile_are_not_proposed(folder: Path) -> None:
    (folder / "predictors" / "local-sentence").rename(folder / "predictors" / "gone-sentence")
    path = Workspace(folder).latency_path("gone", "sentence")
    path.write_text(path.read_text().replace('"name":"local"', '"name":"gone"'))
    found = part(folder, "measurements")
    assert found.state == "stale"
    assert "unknown device 'gone'" in found.detail
    assert found.command is None


def test_data_that_is_gone_is_told_and_not_read_if_asked(folder: Path) -> None:
    (folder / "data" / "train.de").unlink()
    assert part(folder, "data").state == "stale"
    assert "no such file" in part(folder, "data").detail
    assert opened(folder).status().next_command is None  # as every command would refuse them
    assert opened(folder).status(read_data=False).parts[0].detail == "not read"


def test_a_profile_that_never_reached_its_device_is_missing(folder: Path) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    shutil.copytree(path.parent, path.parent.with_name("rpi-sentence"))
    begun = path.parent.with_name("rpi-sentence")
    (begun / "predictor.json").unlink()
    (begun / "latency.jsonl").write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    found = {(x.what, x.state) for x in opened(folder).status().parts if x.name == "rpi"}
    assert found == {("measurements", "missing")}
    with pytest.raises(StaleInputError, match="run `mosdeploy profile --device rpi` first"):
        predictor(open_run(folder), "rpi")


def begin(root: Path, device: str) -> None:
    """A profile that ended before its first subnet."""
    path = Workspace(root).latency_path(device, "sentence")
    line = next(root.glob("predictors/*/latency.jsonl")).read_text().splitlines(keepends=True)[0]
    path.parent.mkdir(exist_ok=True)
    path.write_text(line.replace('"name":"local"', f'"name":"{device}"'))


def test_what_a_killed_profile_has_measured_is_fetched_before_its_device_is_doubted(
    folder: Path,
) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    edit(folder / "mosdeploy.toml", 'device = "local"\n', 'device = "rpi"\n')
    begin(folder, "rpi")
    sessions = (
        path.with_name("sessions.jsonl").read_text().replace('"host":"local"', '"host":"rpi"')
    )
    (folder / "predictors" / "rpi-sentence" / "sessions.jsonl").write_text(sessions)
    shutil.rmtree(path.parent)
    found = opened(folder).status()
    assert found.next_command == "mosdeploy profile --device rpi"
    part = next(x for x in found.parts if x.what == "measurements")
    assert "goes on, also with what was measured there meanwhile" in part.detail


@pytest.mark.parametrize(
    ("named", "is_measured", "next_command"),
    [
        # another device is at hand, and the walk goes on with that
        ("local", True, "mosdeploy finetune"),
        (None, True, "mosdeploy finetune"),
        ("local", False, "mosdeploy profile --device local"),
        # it is the device of the walk: why did it not answer?
        (None, False, "mosdeploy devices check rpi"),
        ("rpi", True, "mosdeploy devices check rpi"),
    ],
)
def test_a_device_that_never_answered_is_proposed_only_where_needed(
    folder: Path, named: str | None, is_measured: bool, next_command: str
) -> None:
    line = f'device = "{named}"\n' if named else ""
    edit(folder / "mosdeploy.toml", 'device = "local"\n', line)
    begin(folder, "rpi")
    if not is_measured:
        shutil.rmtree(folder / "predictors" / "local-sentence")
    assert opened(folder).status().next_command == next_command
    found = next(x for x in opened(folder).status().parts if x.name == "rpi")
    assert found.state == "missing"
    assert "`mosdeploy devices check rpi` says whether it answers" in found.detail


def test_a_device_that_never_answered_is_none_of_several(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    begin(folder, "rpi")
    assert open_run(folder).profiled_device_name(None) == "local"
    shutil.rmtree(folder / "predictors" / "local-sentence")
    assert open_run(folder).profiled_device_name(None) == "rpi"


def test_the_device_of_the_run_file_is_measured_beside_others(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", 'device = "local"', 'device = "rpi"')
    assert opened(folder).status().next_command == "mosdeploy profile --device rpi"


def test_another_workload_is_unused(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "[workload]", '[workload]\nname = "longer"')
    found = {x.name: x.state for x in opened(folder).status().parts if x.what == "measurements"}
    assert found == {"local-sentence": "unused", "local": "missing"}


def test_a_search_is_proposed_with_a_limit_that_was_measured(folder: Path) -> None:
    (folder / "search" / "result.json").unlink()
    command = opened(folder).status().next_command
    assert command.startswith("mosdeploy search --max-latency ")
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nmax_latency = "5ms"')
    assert opened(folder).status().next_command == "mosdeploy search"


def test_a_report_is_stale_once_it_shows_others_than_are_there(folder: Path) -> None:
    run = opened(folder)
    run.report()
    path = Workspace(folder).scores_path
    path.write_text(path.read_text() + " ")  # newer, but the same
    os.utime(Workspace(folder).search_result_path)
    assert part(folder, "report").state == "ok"
    run.evaluate(("1",))
    assert part(folder, "report").detail == "written before the last scores"
    run.report()
    assert part(folder, "report").state == "ok"
    bundle = part(folder, "bundle")
    size = byte_size(folder_bytes(folder / "bundles" / bundle.name))
    assert bundle.detail == f"fp32, {size}"
    run.export("smallest")
    assert part(folder, "report").detail == "written before the last bundle"


@pytest.mark.slow
def test_a_report_is_stale_once_it_would_price_or_propose_otherwise(folder: Path) -> None:
    opened(folder).report()
    add_device(folder, "other")
    assert part(folder, "report").detail == "written before the last predictor"
    opened(folder).report()
    assert part(folder, "report").state == "ok"
    # one that does not suit is on no page
    add_device(folder, "renamed").save(Workspace(folder).predictor_path("again", "sentence"))
    shutil.rmtree(Workspace(folder).predictor_dir("renamed", "sentence"))
    assert part(folder, "report").state == "ok"
    opened(folder).finetune()
    assert part(folder, "report").detail == "written before the last finetune"
    opened(folder).report()
    assert part(folder, "report").state == "ok"


def test_a_report_of_another_form_is_stale(folder: Path) -> None:
    opened(folder).report()
    path = folder / "report" / "report.json"
    shown = json.loads(path.read_text())
    for choices in (None, [], [{}] * len(shown["choices"])):
        path.write_text(json.dumps(shown | {"choices": choices}))
        assert part(folder, "report").detail == "written before the last version of mosdeploy"


def test_one_subnet_is_one(folder: Path) -> None:
    path = Workspace(folder).scores_path
    path.unlink()
    opened(folder).evaluate(("winner",))
    assert part(folder, "scores").detail == "of 1 subnet"


@pytest.mark.slow
def test_a_stopped_finetuning_is_told_with_what_goes_on_with_it(folder: Path) -> None:
    def found() -> dict[str, str]:
        parts = opened(folder).status().parts
        return {x.state: x.detail for x in parts if x.what == "finetuned"}

    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune(from_scratch=True)
    assert found()["missing"] == "the winner has the weights that it inherits"
    assert opened(folder).status().next_command == "mosdeploy finetune"
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune(steps=12, seeds=2)
    command = "mosdeploy finetune --steps 12 --seeds 2"
    assert found()["missing"] == f"a training was stopped; `{command}` goes on with it"
    assert opened(folder).status().next_command == command
    opened(folder).finetune(steps=12, seeds=2)
    assert "missing" not in found()
    command = "mosdeploy finetune --from-scratch"
    assert found()["unused"] == f"a training was stopped; `{command}` goes on with it"
    assert opened(folder).status().next_command != command


@pytest.mark.slow
def test_a_stopped_finetuning_of_an_earlier_supernet_is_begun_anew(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune("smallest", steps=12)
    edit(folder / "mosdeploy.toml", "learning_rate = 5e-3", "learning_rate = 4e-3")
    opened(folder).train()
    details = [x.detail for x in opened(folder).status().parts if x.what == "finetuned"]
    command = "mosdeploy finetune --pick smallest --steps 12"
    assert f"a training of an earlier supernet was stopped; `{command}` begins it anew" in details
    progress = KeptProgress()
    assert opened(folder, progress).finetune("smallest", steps=12).steps == 12
    told = "a stopped training of it was of an earlier supernet: it is begun anew"
    assert told in progress.messages
    assert not list(folder.glob("subnets/*/begun.json"))


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


def test_the_end_of_another_workloads_name_is_no_device(folder: Path) -> None:
    predictors = folder / "predictors"
    (predictors / "local-sentence").rename(predictors / "local-long-sentence")
    found = {x.name: x.state for x in opened(folder).status().parts if x.what == "measurements"}
    assert found == {"local-long-sentence": "unused", "local": "missing"}


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


@pytest.mark.slow
def test_a_number_that_another_subnet_has_now_goes_on_with_no_training(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=3)).finetune("1", steps=6)
    (path,) = (folder / "subnets").glob("*/begun.json")
    key = path.parent.name.partition("-")[0]
    stopped = next(x for x in opened(folder).status().parts if "was stopped" in x.detail)
    assert "`mosdeploy finetune --pick 1 --steps 6` goes on" in stopped.detail
    result_path = Workspace(folder).search_result_path
    result = read_record(SearchResult, result_path, "mosdeploy search")
    others = tuple(x for x in result.front if x.arch.key != key)
    write_record(result_path, result.model_copy(update={"front": others}))
    stopped = next(x for x in opened(folder).status().parts if "was stopped" in x.detail)
    assert "which nothing goes on with now; delete" in stopped.detail


class Looking(KeptProgress):
    """Progress of a training that looks at its run folder at the third step."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.found: list[RunStatus] = []

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if done == 3:
            self.found.append(opened(self.root).status())


@pytest.mark.parametrize(
    ("verb", "what"),
    [("train", "supernet"), ("finetune", "finetuned"), ("profile", "measurements")],
)
def test_while_a_command_runs_nothing_is_proposed(folder: Path, verb: str, what: str) -> None:
    progress = Looking(folder)
    edit(folder / "mosdeploy.toml", "[training]", "[finetune]\nsteps = 6\n[training]")
    if verb == "train":
        shutil.rmtree(folder / "supernet")
    if verb == "profile":
        shutil.rmtree(folder / "predictors")
    getattr(opened(folder, progress), verb)()
    found = progress.found[0]  # of a profile there are several
    assert found.next_command is None
    running = [x.what for x in found.parts if "runs now; wait for it" in x.detail]
    assert running == [what]
    assert opened(folder).status().next_command


def test_while_another_device_is_measured_the_walk_goes_on(folder: Path) -> None:
    begin(folder, "rpi")
    path = Workspace(folder).latency_path("rpi", "sentence")
    before = opened(folder).status().next_command
    with locked(path, DeviceBusyError("busy")):
        found = opened(folder).status()
        assert found.next_command == before
        edit(folder / "mosdeploy.toml", 'device = "local"\n', 'device = "rpi"\n')
        waiting = opened(folder).status()
    told = {x.detail for x in found.parts if x.name == "rpi"}
    assert told == {"`mosdeploy profile --device rpi` runs now"}
    assert waiting.next_command is None


def test_scores_with_another_length_penalty_are_stale(folder: Path) -> None:
    assert part(folder, "scores").state == "ok"
    edit(folder / "mosdeploy.toml", "[export]", "[export]\nlength_penalty = 1.5")
    found = part(folder, "scores")
    assert (found.state, found.command) == ("stale", "mosdeploy evaluate")
    assert opened(folder).report().report.headline.metrics == {}
    opened(folder).evaluate()
    assert part(folder, "scores").state == "ok"


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_its_limits(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train(max_size_bytes=100 * 2**10)
    found = opened(root).status()
    command = "mosdeploy train --max-size 100KiB"
    assert found.next_command == command
    assert f"`{command}` goes on" in part(root, "supernet").detail
    card = opened(root).train(max_size_bytes=100 * 2**10)
    assert not Workspace(root).begun_path.exists()
    # and what makes it again, after a change, is for the same limits
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    assert card.limits is not None
    assert opened(root).status().next_command == command


@pytest.mark.slow
def test_a_training_for_another_predictor_does_not_go_on(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train("9s")
    goes_on = "a training was stopped; `mosdeploy train --max-latency 9000ms` goes on"
    assert part(folder, "supernet").detail == goes_on
    opened(folder).profile(budget=14)
    assert "supernet-new/, delete that to forget it" in part(folder, "supernet").detail
    shutil.rmtree(folder / "supernet")
    assert "and the latency predictor has changed: restore" in part(folder, "supernet").detail


@pytest.mark.slow
def test_a_damaged_card_of_the_data_beside_a_stopped_training_is_written_again(
    tmp_path: Path,
) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    damage(Workspace(root).data_card_path)
    assert opened(root).train().steps == 12


@pytest.mark.slow
def test_of_a_stopped_training_status_tells_what_was_changed_since(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 14")
    path = Workspace(root).checkpoint_path
    ending = f"restore that, or delete {path}"
    told = f"a training was stopped, and training.steps was 12, is 14 now: {ending}"
    assert part(root, "supernet").detail == told
    assert opened(root).status().next_command is None
    with pytest.raises(StaleInputError, match="steps was 12, is 14 now"):
        opened(root).train()
    edit(root / "mosdeploy.toml", "\nsteps = 14", "\nsteps = 12")
    change_data(root)
    assert (
        part(root, "supernet").detail
        == f"a training was stopped, and the data are others: {ending}"
    )
    path.unlink()
    assert opened(root).train().steps == 12


class StoppedMeasuring(KeptProgress):
    """Progress that is stopped behind the thirteenth subnet, of which twelve were accepted."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("measure on") and done == 13:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_stopped_profile_is_told_with_what_goes_on_with_it(folder: Path) -> None:
    shutil.rmtree(folder / "predictors")
    edit(folder / "mosdeploy.toml", "budget = 12", "budget = 14")
    with pytest.raises(KeyboardInterrupt):
        opened(folder, StoppedMeasuring()).profile()
    measured = part(folder, "measurements")
    assert measured.detail.startswith("12 subnets, ")
    command = "mosdeploy profile --device local"
    assert measured.detail.endswith(f"stopped; `{command}` goes on")
    assert opened(folder).status().next_command == command
    opened(folder).profile()
    assert "stopped" not in part(folder, "measurements").detail
    # one that ended is whole, whatever is wanted later
    edit(folder / "mosdeploy.toml", "budget = 14", "budget = 16")
    for path in folder.glob("predictors/*/predictor.json"):
        path.unlink()
    assert "stopped" not in part(folder, "measurements").detail
    assert opened(folder).status().next_command == "mosdeploy fit --device local"


def test_a_stopped_search_is_proposed_as_it_was_asked_for(folder: Path) -> None:
    shutil.rmtree(folder / "search")
    usual = opened(folder).status().next_command
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=1)).search("9s", max_parameters=10**6, verify=False)
    command = "mosdeploy search --max-latency 9000ms --max-parameters 1M --no-verify"
    assert opened(folder).status().next_command == command != usual
    with pytest.raises(InfeasibleError):
        opened(folder).search("0.0001ms", verify=False)
    assert opened(folder).status().next_command == usual
    opened(folder).search("9s", verify=False)
    assert not Workspace(folder).begun_search_path.exists()


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


@pytest.mark.slow
def test_a_stopped_training_of_a_teacher_is_told_with_what_was_changed_since(
    tmp_path: Path,
) -> None:
    root = make_encoder_folder(tmp_path, "classification")
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    assert part(root, "supernet").detail == "a training was stopped; `mosdeploy train` goes on"
    before = (root / "mosdeploy.toml").read_text()
    edit(root / "mosdeploy.toml", "[teacher]\nsteps = 40", "[teacher]\nsteps = 50")
    told = "teacher.steps was 40, is 50 now"
    assert told in part(root, "supernet").detail
    assert opened(root).status().next_command is None
    for _ in range(2):
        with pytest.raises(StaleInputError, match=told):
            opened(root).train()
    (root / "mosdeploy.toml").write_text(before)
    opened(root).train()
    assert part(root, "supernet").state == "ok"
    # what a kill at the very end of the teacher's training left
    (root / "teacher" / "checkpoint.pt").touch()
    assert part(root, "supernet").state == "ok"
    opened(root).train()
    assert not list((root / "teacher").glob("*.pt"))


def test_a_training_that_was_stopped_before_its_first_state_is_known(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=1)).train(max_parameters=50_000)
    assert not Workspace(root).checkpoint_path.exists()
    assert part(root, "supernet").state == "missing"
    assert opened(root).status().next_command == "mosdeploy train --max-parameters 50k"


@pytest.mark.slow
def test_a_training_beside_a_supernet_goes_on_with_its_limits(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train("10s")
    assert opened(folder).status().next_command == "mosdeploy train --max-latency 10000ms"


def test_a_training_within_a_latency_is_measured_first(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "[training]", '[training]\nmax_latency = "10s"')
    change_space(folder)
    assert opened(folder).status().next_command.startswith("mosdeploy profile --device local")
    fresh = folder.with_name("fresh")
    for name in ("data", "device_profiles"):
        shutil.copytree(folder / name, fresh / name)
    shutil.copy(folder / "mosdeploy.toml", fresh)
    assert opened(fresh).status().next_command == "mosdeploy profile --device local"


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
    # 0.1.0 had no channels
    record = next(renamed.glob("deployments/*.json"))
    record.write_text(record.read_text().replace(f"/bundles/{folder.name}/", "/bundles/"))
    found = part(renamed, "deployment")
    told = "mosdeploy 0.1.0 deployed it, into another place there"
    assert (found.state, found.detail) == ("stale", told)


def test_a_supernet_counts_beside_another_training_that_was_stopped(folder: Path) -> None:
    path = folder / "mosdeploy.toml"
    edit(path, "\nsteps = 12", "\nsteps = 50")
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train()
    told = "; another training was stopped; it is in supernet-new/, delete that to forget it"
    # it goes on where the run file is still the one that it was begun with
    assert part(folder, "supernet").detail == "a training was stopped; `mosdeploy train` goes on"
    edit(path, "\nsteps = 50", "\nsteps = 12")
    supernet = part(folder, "supernet")
    assert supernet.state == "ok"
    assert supernet.detail.endswith(told)
    for read_data in (True, False):
        found = opened(folder).status(read_data=read_data)
        assert found.next_command == "mosdeploy finetune"
    progress = KeptProgress()
    opened(folder, progress).train()
    assert progress.messages == ["already trained from this data and configuration", told[2:]]
    # of neither of both: what would be refused is told
    edit(path, "\nsteps = 12", "\nsteps = 20")
    supernet = part(folder, "supernet")
    assert (supernet.state, supernet.command) == ("stale", "mosdeploy train")
    assert "steps was 12, is 20 now" in supernet.detail
    assert supernet.detail.endswith(told)
    shutil.rmtree(folder / "supernet-new")
    assert told not in part(folder, "supernet").detail


def test_a_stopped_training_on_other_data_is_another_one(folder: Path) -> None:
    path = folder / "data" / "train.en"
    before = path.read_text()
    change_data(folder)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train()
    for read_data in (True, False):
        assert opened(folder).status(read_data=read_data).next_command == "mosdeploy train"
    assert "`mosdeploy train` goes on" in part(folder, "supernet").detail
    path.write_text(before)
    for read_data in (True, False):
        found = opened(folder).status(read_data=read_data)
        assert found.next_command == "mosdeploy finetune"
    assert part(folder, "supernet").state == "ok"
    # a limit that the run file has now is none of that training's
    change_data(folder)
    edit(folder / "mosdeploy.toml", "[training]", '[training]\nmax_parameters = "50k"')
    assert "supernet-new/" in part(folder, "supernet").detail


def test_every_limit_of_a_search_is_told(folder: Path) -> None:
    opened(folder).search("10s", max_parameters=10**6, max_size_bytes=500 << 20, verify=False)
    detail = part(folder, "search").detail
    assert detail.endswith("limit 10000 ms, max_parameters = 1,000,000, max_size = 500 MiB")


def test_a_predictor_is_as_stale_as_its_measurements(folder: Path) -> None:
    assert part(folder, "predictor").state == "ok"
    edit(folder / "device_profiles" / "local.toml", "[measure]", "[measure]\nmin_repeats = 11")
    assert part(folder, "measurements").state == "stale"
    found = part(folder, "predictor")
    assert (found.state, found.detail) == ("stale", "fitted to measurements that no longer count")
    assert opened(folder).status().next_command == "mosdeploy profile --device local --renew"


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
