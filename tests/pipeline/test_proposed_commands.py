"""What a run folder proposes: with several devices, and after a winner was trained."""

import json
import re
import shutil
from pathlib import Path

import pytest
from walking import edit, opened, part

from mosdeploy.errors import PredictorError
from mosdeploy.pipeline.measured_device import middle_limit
from mosdeploy.pipeline.proposed_commands import report_command, search_command
from mosdeploy.records import SupernetCard
from mosdeploy.run_folder.budget import split_steps
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import read_record, write_record
from mosdeploy.workspace import Workspace


def test_of_several_devices_the_limit_is_of_the_one_that_is_searched(folder: Path) -> None:
    usual = middle_limit(Context(open_run(folder)))
    assert usual.startswith(" --max-latency ")
    assert "--device" not in usual
    # before the other by its name, and slower
    there = folder / "predictors" / "a-sentence"
    shutil.copytree(folder / "predictors" / "local-sentence", there)
    path = there / "latency.jsonl"
    path.write_text(re.sub(r'"median_ms":', '"median_ms":1', path.read_text()))
    assert middle_limit(Context(open_run(folder))) == usual
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    run = open_run(folder)
    options = [run.device_option(name) for name in ("a", "local")]
    assert options == [" --device a", " --device local"]
    found = middle_limit(Context(run))
    assert found.endswith(" --device a")
    assert not found.startswith(usual)


def test_a_winner_from_scratch_alone_is_not_finetuned(folder: Path) -> None:
    shutil.rmtree(folder / "subnets", ignore_errors=True)
    opened(folder).finetune(from_scratch=True, steps=2)
    assert part(folder, "finetuned").name.endswith("-scratch")
    missing = [x for x in opened(folder).status().parts if x.state == "missing"]
    assert [(x.what, x.command) for x in missing] == [("finetuned", "mosdeploy finetune")]


@pytest.mark.slow
def test_better_weights_than_the_exported_ones_are_told(folder: Path) -> None:
    run = opened(folder)
    shutil.rmtree(folder / "subnets", ignore_errors=True)
    bundle = run.export("winner", weights="inherited").path.name
    run.finetune(steps=30)
    path = next((folder / "subnets").glob("*-finetuned/subnet.json"))
    card = json.loads(path.read_text())
    for loss, state in ((card["start_loss"] - 1, "stale"), (card["start_loss"] + 1, "ok")):
        path.write_text(json.dumps({**card, "loss": loss}))
        (found,) = [x for x in run.status().parts if x.name == bundle]
        assert found.state == state


def test_a_deployment_is_not_stale_for_a_bundle_of_another_device(folder: Path) -> None:
    assert part(folder, "deployment").state == "ok"
    opened(folder).export("smallest")
    assert "is newer" in part(folder, "deployment").detail
    manifest = Workspace(folder).newest_bundle_path.read_text().strip()
    path = folder / "bundles" / manifest / "manifest.json"
    text = path.read_text()
    assert '"device": "local"' in text
    path.write_text(text.replace('"device": "local"', '"device": "rpi"'))
    assert part(folder, "deployment").state == "ok"


@pytest.mark.slow
def test_a_bundle_that_was_rolled_back_is_not_proposed_again(folder: Path) -> None:
    run = opened(folder)
    run.deploy()
    run.deploy(bundle=run.export(precision="int8").path)
    run.deploy(rollback=True)
    found = part(folder, "deployment")
    assert found.state == "ok"
    assert ", rolled back to, " in found.detail
    # another one is
    run.export("smallest")
    found = part(folder, "deployment")
    assert (found.state, "is newer" in found.detail) == ("stale", True)


@pytest.mark.slow
def test_of_several_deployments_one_with_a_limit_is_verified(folder: Path) -> None:
    run = opened(folder)
    run.finetune(steps=1)
    run.evaluate()
    run.export()
    run.deploy()
    run.report()
    assert run.status().next_command == "mosdeploy verify"
    path = Workspace(folder).deployment_path("local")
    text = path.read_text()
    assert '"limit_ms": 10000.0' in text
    other = path.with_name("pi@pi2.json")
    other.write_text(text)
    run.report()
    assert run.status().next_command == "mosdeploy verify --device local"
    path.write_text(text.replace('"limit_ms": 10000.0', '"limit_ms": null'))
    run.report()
    assert run.status().next_command == "mosdeploy report"  # there is no profile of a pi
    (folder / "device_profiles" / "pi.toml").write_text('name = "pi"\n')
    assert run.status().next_command == "mosdeploy verify --device pi --host pi2"
    other.unlink()
    run.report()
    assert run.status().next_command == "mosdeploy report"  # verify would ask for a limit


def test_too_few_subnets_are_measured_further_before_a_fit(folder: Path) -> None:
    there = folder / "predictors" / "local-sentence"
    (there / "predictor.json").unlink()
    assert part(folder, "predictor").command == "mosdeploy fit --device local"
    path = there / "latency.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:8]))  # a header, 7 subnets
    assert part(folder, "predictor").command == "mosdeploy profile --device local"  # 12 are wanted
    text = path.read_text()
    failed = json.dumps({**json.loads(text.splitlines()[-1]), "measurement": {"error": "memory"}})
    path.write_text("\n".join([*text.splitlines()[:-1], failed, ""]))
    edit(folder / "mosdeploy.toml", "budget = 12", "budget = 7")
    # six could be timed: two more than were tried
    assert part(folder, "predictor").command == "mosdeploy profile --device local --budget 9"


def proposed(root: Path, device: str | None = None) -> str | None:
    return search_command(Context(open_run(root)), device)


def measure_another(root: Path) -> None:
    """As if device `a` had been measured too, and the run file named none."""
    shutil.copytree(root / "predictors" / "local-sentence", root / "predictors" / "a-sentence")
    edit(root / "mosdeploy.toml", 'device = "local"\n', "")


def test_the_last_search_is_proposed_again_with_all_of_its_limits(folder: Path) -> None:
    limits = {"max_parameters": 4_000_000, "max_size_bytes": 40 * 2**20}
    opened(folder).search("10s", **limits, statistic="p90", verify=False)
    again = "mosdeploy search --max-latency 10000ms --max-parameters 4M --max-size 40MiB"
    assert proposed(folder) == f"{again} --statistic p90"


def test_a_search_is_proposed_with_a_limit_only_where_none_is_known(folder: Path) -> None:
    shutil.rmtree(folder / "search")
    limit = middle_limit(Context(open_run(folder)))
    assert limit.startswith(" --max-latency ")
    assert proposed(folder) == proposed(folder, "local") == f"mosdeploy search{limit}"
    measure_another(folder)
    for device in ("a", "local"):
        assert proposed(folder, device) == f"mosdeploy search{limit} --device {device}"
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nmax_latency = "5ms"')
    assert proposed(folder) == "mosdeploy search --device a"  # of several, which one has to be said
    assert proposed(folder, "local") == "mosdeploy search --device local"


def test_without_a_supernet_that_counts_a_training_is_proposed(folder: Path) -> None:
    files = Workspace(folder)
    card = read_record(SupernetCard, files.supernet_card_path, "")
    budget = split_steps(100).model_copy(update={"time_s": 5400.0})
    write_record(files.supernet_card_path, card.model_copy(update={"budget": budget}))
    files.supernet_path.rename(files.supernet_path.with_name("elsewhere"))
    assert proposed(folder) == "mosdeploy train --time 90m"  # as it was
    shutil.rmtree(folder / "supernet")
    assert proposed(folder) == "mosdeploy train"


def measure_emulated(root: Path, name: str = "board") -> None:
    """As if an emulated device, which the run file names, had been measured too."""
    profiles = root / "device_profiles"
    text = (profiles / "local.toml").read_text().replace('"local"', f'"{name}"', 1)
    (profiles / f"{name}.toml").write_text(f"emulated = true\n{text}")
    there = root / "predictors" / f"{name}-sentence"
    shutil.copytree(root / "predictors" / "local-sentence", there)
    (there / "predictor.json").unlink()
    first, *records = (there / "latency.jsonl").read_text().splitlines()
    context = json.loads(first)
    context["device"] |= {"name": name, "emulated": True}
    (there / "latency.jsonl").write_text("\n".join([json.dumps(context), *records, ""]))
    edit(root / "mosdeploy.toml", 'device = "local"', f'device = "{name}"')


def test_what_is_proposed_for_an_emulated_device_is_not_refused(folder: Path) -> None:
    measure_emulated(folder)
    shutil.rmtree(folder / "search")
    limit = middle_limit(Context(open_run(folder)), "local")
    # a device that was measured goes before
    assert proposed(folder) == f"mosdeploy search{limit}"
    shutil.rmtree(folder / "predictors" / "local-sentence")
    command = proposed(folder)
    match = re.fullmatch(r"mosdeploy search --max-parameters (\d+) --no-verify", command or "")
    assert match is not None
    assert opened(folder).status().next_command == command
    with pytest.raises(PredictorError, match="board is an emulated device"):
        opened(folder).search(max_parameters=int(match[1]))
    assert not opened(folder).search(max_parameters=int(match[1]), verify=False).verified


def test_limits_that_an_emulated_device_can_be_searched_within(folder: Path) -> None:
    measure_emulated(folder)
    shutil.rmtree(folder / "predictors" / "local-sentence")
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nmax_size = "1MiB"')
    assert proposed(folder) == "mosdeploy search --no-verify"
    edit(folder / "mosdeploy.toml", 'max_size = "1MiB"', 'max_latency = "5ms"')
    assert proposed(folder) == "mosdeploy profile --device local"  # which has times
    edit(folder / "mosdeploy.toml", 'device = "board"\n', "")
    assert proposed(folder, "local") == "mosdeploy search --device local"


def test_an_imported_predictor_tells_a_limit_too(folder: Path) -> None:
    Workspace(folder).search_result_path.unlink()
    measured = Workspace(folder).latency_path("local", "sentence")
    measured.unlink()
    measured.with_name("sessions.jsonl").unlink()  # which lies beside no imported one
    command = proposed(folder)
    assert command is not None
    assert command.startswith("mosdeploy search --max-latency ")
    assert opened(folder).status().next_command == command
    shutil.rmtree(folder / "predictors")
    assert proposed(folder) is None


def test_a_report_is_proposed_where_there_is_a_search_that_counts(folder: Path) -> None:
    def command() -> str:
        return report_command(Context(open_run(folder)))

    assert command() == "mosdeploy report"
    edit(folder / "mosdeploy.toml", "source_len = 6", "source_len = 7")
    assert command() == "mosdeploy status"
    edit(folder / "mosdeploy.toml", "source_len = 7", "source_len = 6")
    Workspace(folder).search_result_path.unlink()
    assert command() == "mosdeploy status"


def test_a_first_deployment_goes_where_the_bundle_is_for(folder: Path) -> None:
    shutil.rmtree(folder / "deployments")
    assert part(folder, "deployment").command == "mosdeploy deploy"
    (path,) = folder.glob("bundles/*/manifest.json")
    path.write_text(path.read_text().replace('"device": "local"', '"device": "rpi"'))
    assert part(folder, "deployment").command == "mosdeploy deploy --device rpi"
    # the bundle's own is meant anyway
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    assert part(folder, "deployment").command == "mosdeploy deploy"


def test_the_folder_of_a_task_is_neither_measured_nor_trained_nor_searched(folder: Path) -> None:
    task = folder / "runs" / "mood"
    for name in ("supernet", "search"):
        shutil.copytree(folder / name, task / name)
    text = (folder / "mosdeploy.toml").read_text()
    (task / "mosdeploy.toml").write_text(f'served_by = "../.."\n{text}')
    found = opened(task).status()
    assert "measurements" not in {x.what for x in found.parts}
    assert found.next_command == "mosdeploy finetune"
    assert proposed(task) is None
    Workspace(task).search_result_path.unlink()
    again = f"mosdeploy finetune --task mood.toml --dir {folder.resolve()}"
    assert opened(task).status().next_command == again
    shutil.rmtree(task / "supernet")
    commands = {x.what: x.command for x in opened(task).status().parts}
    assert commands["tokenizer"] == commands["supernet"] == commands["search"] == again
    toml = folder / "tasks" / "mood.toml"
    toml.parent.mkdir()
    toml.touch()
    assert f"--task {toml.resolve()} --dir" in opened(task).status().next_command
