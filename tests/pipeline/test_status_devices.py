"""Devices and what was measured on them, as a run folder tells of it."""

import shutil
from pathlib import Path

import pytest
from walking import KeptProgress, change_workload, edit, opened, part

from mosdeploy.errors import DeviceBusyError, OtherConditionsError, StaleInputError
from mosdeploy.locks import locked
from mosdeploy.run_folder.predictors import predictor
from mosdeploy.run_folder.run import open_run
from mosdeploy.workspace import Workspace


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


def test_the_end_of_another_workloads_name_is_no_device(folder: Path) -> None:
    predictors = folder / "predictors"
    (predictors / "local-sentence").rename(predictors / "local-long-sentence")
    found = {x.name: x.state for x in opened(folder).status().parts if x.what == "measurements"}
    assert found == {"local-long-sentence": "unused", "local": "missing"}


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


def test_a_predictor_is_as_stale_as_its_measurements(folder: Path) -> None:
    assert part(folder, "predictor").state == "ok"
    edit(folder / "device_profiles" / "local.toml", "[measure]", "[measure]\nmin_repeats = 11")
    assert part(folder, "measurements").state == "stale"
    found = part(folder, "predictor")
    assert (found.state, found.detail) == ("stale", "fitted to measurements that no longer count")
    assert opened(folder).status().next_command == "mosdeploy profile --device local --renew"
