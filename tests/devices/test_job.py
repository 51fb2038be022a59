"""The agent's files as the host writes and reads them; no agent runs here."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from watching import STAGES

from mosdeploy.devices import device as module_device
from mosdeploy.devices import job as room
from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.job import AgentJob, Holder
from mosdeploy.devices.session import CommandResult
from mosdeploy.errors import CommandError, DeviceBusyError

TIMING = {"median_ms": 2.0, "p90_ms": 2.5, "p99_ms": 2.5, "minimum_ms": 1.9, "repeats": 15}


@pytest.fixture
def job(make_profile):
    return AgentJob(Device(LocalSession("dev"), make_profile()), "job")


@pytest.fixture
def results(job):
    path = Path(job.folder) / "results.jsonl"
    path.parent.mkdir(parents=True)
    return path


def test_the_scripts_lie_in_a_file_named_by_its_content(make_profile, monkeypatch):
    device = Device(LocalSession(), make_profile())
    first = device.install_scripts()
    whole = Path(first).read_bytes()
    assert whole == module_device.archive.__wrapped__()
    Path(first).write_bytes(b"cut")
    assert device.install_scripts() == first
    assert Path(first).read_bytes() == whole
    monkeypatch.setattr(module_device, "archive", lambda: b"changed")
    assert device.install_scripts() != first


def test_job_json_declares_the_inputs(job, make_profile, monkeypatch):
    monkeypatch.setattr(Device, "call", lambda *_, **__: room._AgentAnswer(pid=1))
    job.start({"a": "candidates/a.onnx"}, {"a": 2}, STAGES, threads=3, weights_bytes=4)
    request = json.loads((Path(job.folder) / "job.json").read_text())
    assert request.items() >= make_profile().measure.model_dump().items()
    assert [stage["minus"] for stage in request["stages"]] == [None, None, "first"]
    declared = {"name": "source_ids", "shape": [1, 5], "dtype": "int64", "low": 4, "high": 50}
    assert request["stages"][0]["inputs"][0] == {**declared, "value": None}
    assert (request["target_counts"], request["threads"]) == ({"a": 2}, 3)


def test_what_the_agent_refuses_is_raised(job, monkeypatch):
    busy = room._AgentAnswer(busy=Holder(pid=7, job="other"))
    answers = iter([busy.model_dump_json(), '{"error": "too old"}'])
    monkeypatch.setattr(Device, "run_python", lambda *_: CommandResult(next(answers), "", 0))
    with pytest.raises(DeviceBusyError, match=r"pid 7, .*job other; .*kill -- -7"):
        job.start({}, {}, STAGES, threads=1)
    with pytest.raises(CommandError, match="dev: too old"):
        job.start({}, {}, STAGES, threads=1)


def test_results_are_read_on_from_the_last_whole_line(job, results):
    assert job.results() == []
    line = json.dumps({"key": "a", "measurement": {"total": TIMING, "parts": {"first": TIMING}}})
    results.write_text(f"{line}\n{line[:20]}")
    (result,) = job.results()
    assert result.key == "a"
    assert result.measurement.parts["first"].median_ms == 2.0
    results.write_text(f"{line}\n{line}\n")
    assert len(job.results()) == 1
    assert job.results() == []


@pytest.mark.parametrize("is_running", [False, True])
def test_results_that_are_too_old_are_removed(job, results, monkeypatch, is_running):
    monkeypatch.setattr(job, "is_running", lambda: is_running)
    job.remove_results(60.0)
    assert not results.exists()
    ages_s = {"new": 0.0, "minute": 50.0, "old": 70.0, "set back": -3600.0}
    now = datetime.now(UTC)
    times = {key: (now - timedelta(seconds=x)).isoformat() for key, x in ages_s.items()}
    lines = [
        json.dumps({"key": key, "measured_at": time, "measurement": {"total": TIMING}})
        for key, time in {**times, "untold": ""}.items()
    ]
    results.write_text("".join(f"{line}\n" for line in lines))
    job.remove_results(60.0)
    kept = [x.key for x in job.results()]
    assert kept == ([*times, "untold"] if is_running else ["new", "minute"])


def test_no_pid_of_a_device_is_everybody_s_group(job, results, monkeypatch):
    monkeypatch.setattr(job._session, "run", pytest.fail)
    for pid in ("1", "0", "-1", "01", "99999999999", "x"):
        results.with_name("pid").write_text(pid)
        job.kill()
        assert not job.is_running()


def test_the_end_of_a_job_tells_why_it_stopped(job, results):
    assert job.failure() is None
    outcome = results.with_name("rc")
    outcome.write_text('{"rc": 0}')
    assert job.failure() is None
    outcome.write_text('{"rc": 1, "error": "the runtime cannot be imported: no numpy"}')
    assert "run `mosdeploy devices check dev --setup`" in str(job.failure())
