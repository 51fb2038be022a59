"""What a run folder proposes: with several devices, and after a winner was trained."""

import json
import re
import shutil
from pathlib import Path

import pytest
from walking import edit, opened

from mosdeploy.pipeline.context import Context
from mosdeploy.pipeline.measured_parts import middle_limit
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.summaries import Part
from mosdeploy.workspace import Workspace


def part(root: Path, what: str) -> Part:
    return next(x for x in opened(root).status().parts if x.what == what)


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
def test_of_several_deployments_one_with_a_limit_is_verified(folder: Path) -> None:
    run = opened(folder)
    run.finetune(steps=1)
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
