"""Profiles: what they measure, what they leave, and when they stop at an error."""

import json
import shutil
from pathlib import Path

import pytest
from answers import predictor_card
from walking import KeptProgress, edit, lines_of, opened

from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import ConfigError, DeviceError, PredictorError
from mosdeploy.latency.dataset import LatencyDataset, read_sessions
from mosdeploy.pipeline import profile
from mosdeploy.pipeline.measuring.collect import CollectRequest, CollectResult, collect
from mosdeploy.pipeline.profile import _parts
from mosdeploy.records import Measurement
from mosdeploy.run_folder.context import Context
from mosdeploy.storage import atomic_write
from mosdeploy.workspace import Workspace


@pytest.fixture
def emulated(folder: Path) -> Path:
    """The walked run folder, of a device that is an emulation."""
    profile = folder / "device_profiles" / "local.toml"
    edit(profile, 'kind = "local"', 'kind = "local"\nemulated = true')
    return folder


def test_a_session_holds_the_device_before_and_after(walked: Path) -> None:
    path = Workspace(walked).latency_path("local", "sentence")
    (session,) = read_sessions(path)
    assert session.after is not None
    assert session.state.cores == session.after.cores
    assert len(session.references) == 1 + 3  # at first, and after each four of twelve
    assert {json.loads(line)["session"] for line in lines_of(path)[1:]} == {session.session}
    assert LatencyDataset.load(path).noise_floor_percent > 0.0


@pytest.mark.slow
def test_where_there_is_a_predictor_no_further_measuring_is_proposed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "predictors")
    few = opened(folder).profile(budget=5)
    assert (few.card, few.further_command) == (None, "mosdeploy profile --device local")
    # as one that is corrected from another device's has after five subnets
    monkeypatch.setattr("mosdeploy.pipeline.profile._card", lambda *_: predictor_card())
    assert opened(folder).profile(budget=5).further_command is None


@pytest.mark.slow
def test_what_was_measured_with_too_much_noise_is_told_and_renewed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    before = path.read_bytes()
    (session,) = read_sessions(path)
    # three timings of which the spread is more than the protocol of the tests allows
    references = [
        timing.model_copy(update={"total": timing.total.model_copy(update={"median_ms": ms})})
        for timing, ms in zip(session.references, (1.0, 1.0, 1e6), strict=False)
    ]
    noisy = session.model_copy(update={"references": tuple(references)})
    atomic_write(path.with_name("sessions.jsonl"), noisy.model_dump_json() + "\n")
    assert opened(folder).profile().is_too_noisy  # told, and not measured again
    assert path.read_bytes() == before
    run = opened(folder)
    (part,) = (x for x in run.status().parts if x.what == "dataset")
    command = "mosdeploy profile --device local --renew"
    assert "TOO NOISY: repeats of one subnet lie " in part.detail and command in part.detail
    assert "renew" not in run.status().next_command  # a device that is always so is not in the way
    caplog.clear()
    run.search("10s", verify=False)
    assert caplog.text.count("run `mosdeploy profile --device local --renew`") == 1
    shown = run.report()
    noise = shown.report.headline.noise
    assert f"run `{command}`, then search again" in noise
    assert noise.replace(f"`{command}`", f"<code>{command}</code>") in shown.page.read_text()
    found = run.profile(renew=True)
    (page,) = (x for x in run.status().parts if x.what == "report")
    assert page.state == "stale"
    assert found.measured_now == 12
    assert not found.is_too_noisy
    assert path.with_suffix(".old").read_bytes() == before


@pytest.mark.slow
def test_a_larger_budget_measures_only_the_new_subnets(folder: Path) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    before = lines_of(path)
    with pytest.raises(ConfigError, match="budget is 2; it must be 4 to 1000 subnets"):
        opened(folder).profile(budget=2)
    assert opened(folder).profile(budget=14).measured_now == 2
    assert lines_of(path)[: len(before)] == before
    keys = [json.dumps(json.loads(line)["arch"]) for line in lines_of(path)[1:]]
    assert len(set(keys)) == len(keys) == 14


@pytest.mark.slow
def test_a_failed_measurement_is_made_again(folder: Path) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    *lines, last = lines_of(path)
    failed = json.loads(last)
    failed["measurement"] = {"error": "out of memory"}
    path.write_text("\n".join([*lines, json.dumps(failed)]) + "\n")
    summary = opened(folder).profile()
    assert (summary.measured_now, summary.num_records, summary.failed) == (1, 12, 0)
    before, after = LatencyDataset.load(path).records[-2:]
    assert before.arch == after.arch
    # afresh, and not what the device keeps of the first time
    assert after.measurement.total is not None
    assert (
        after.measurement.total.median_ms != json.loads(last)["measurement"]["total"]["median_ms"]
    )


def test_a_board_that_lost_its_runtime_is_told_so_and_keeps_what_it_measured(folder: Path) -> None:
    path = next(folder.glob("predictors/*/latency.jsonl"))
    before = path.read_text()
    lacking = 'requirements = ["numpy", "no-such-runtime"]\n[measure]'
    edit(folder / "device_profiles" / "local.toml", "[measure]", lacking)
    for renew in (False, True):
        with pytest.raises(DeviceError, match=r"not installed: no-such-runtime; mosdeploy devices"):
            opened(folder).profile(renew=renew)
        assert path.read_text() == before


@pytest.mark.slow
def test_a_file_without_a_measurement_hinders_nobody_and_takes_no_place(folder: Path) -> None:
    path = next(folder.glob("predictors/*/latency.jsonl"))
    before = path.read_text()
    board = folder / "device_profiles" / "local.toml"
    edit(board, "warmup = 1", "warmup = 2")
    path.rename(path.with_suffix(".old"))
    atomic_write(path, before.splitlines()[0] + "\n")  # of a profile that reached no device
    assert opened(folder).profile().num_records == len(before.splitlines()) - 1
    assert path.with_suffix(".old").read_text() == before


def test_a_profile_in_which_nothing_could_be_timed_is_a_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    first, *lines = lines_of(path)
    failed = [{**json.loads(line), "measurement": {"error": "no runtime"}} for line in lines]
    path.write_text("\n".join([first, *map(json.dumps, failed)]) + "\n")
    # measured again, all fail again
    found = CollectResult(LatencyDataset.load(path), 12, ())
    monkeypatch.setattr("mosdeploy.pipeline.profile.collect", lambda *_: found)
    with pytest.raises(
        DeviceError, match=r"none of the 12 subnets .* \(the last: no runtime\)"
    ) as e:
        opened(folder).profile()
    assert e.value.exit_code == 5


@pytest.mark.slow
@pytest.mark.parametrize("percent", [0.0, -1.0, 100.0, float("nan")])
def test_an_error_that_no_predictor_has_is_refused(walked: Path, percent: float) -> None:
    with pytest.raises(ConfigError, match=r"until_error_percent is .* between 0 and 100"):
        opened(walked).profile(until_error_percent=percent)


@pytest.mark.slow
def test_a_profile_stops_when_the_error_is_met_twice(folder: Path) -> None:
    shutil.rmtree(folder / "predictors")
    run = opened(folder)
    summary = run.profile(until_error_percent=99.0, budget=30)
    assert (summary.error_met, summary.until_error_percent) == (True, 99.0)
    assert (summary.measured_now, summary.num_records) == (15, 15)
    again = run.profile(until_error_percent=99.0, budget=30)
    assert (again.error_met, again.measured_now, again.num_records) == (True, 0, 15)


@pytest.mark.slow
def test_an_error_that_is_never_met_takes_the_budget(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    summary = run.profile(until_error_percent=1e-9, budget=14)
    assert (summary.error_met, summary.measured_now, summary.num_records) == (False, 2, 14)
    assert progress.messages[-1].endswith("% from 14 subnets")
    assert run.profile(budget=14).error_met is None


@pytest.mark.slow
def test_what_failed_in_a_part_is_not_timed_again_in_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "predictors")
    asked = list[set[str]]()
    failing = set[str]()

    def failed_first(context: Context, request: CollectRequest) -> CollectResult:
        asked.append({arch.key for arch in request.archs})
        found = collect(context, request)
        records = found.dataset.records
        failing.add(records[0].arch.key)
        broken = {"measurement": Measurement(error="it took too long")}
        found.dataset.records[0] = records[0].model_copy(update=broken)
        return found

    monkeypatch.setattr(profile, "collect", failed_first)
    opened(folder).profile(until_error_percent=99.0, budget=30)
    assert [len(keys) for keys in asked] == [10, 14]
    assert not asked[1] & failing


def test_parts_of_a_profile_grow_to_the_whole(walked: Path) -> None:
    config = opened(walked).config
    device = DeviceProfile(name="board", host="board")
    parts = _parts([config.space.smallest] * 22, device, config)
    assert [len(part) for part in parts] == [10, 15, 20, 22]
    with pytest.raises(PredictorError, match="budget of 11 or more; this one gives 10"):
        _parts([config.space.smallest] * 10, device, config)


@pytest.mark.slow
def test_what_an_emulated_device_measured_is_not_fitted(emulated: Path) -> None:
    shutil.rmtree(emulated / "predictors")
    progress = KeptProgress()
    run = opened(emulated, progress)
    summary = run.profile(budget=4)
    assert (summary.num_records, summary.emulated, summary.card) == (4, True, None)
    assert [session.emulated for session in read_sessions(Path(summary.path))] == [True]
    assert progress.messages[-1].startswith("no predictor yet: local is an emulated device")
    notes = [note for stage, note in progress.updates if stage == "measure on local"]
    assert notes
    assert all(note.endswith(" ms, emulated") for note in notes)
    with pytest.raises(PredictorError, match="local is an emulated device"):
        run.fit()
