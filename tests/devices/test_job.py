"""The agent's files as the host writes and reads them; no agent runs here."""

import json
import os
import sys
from pathlib import Path

import pytest
from watching import STAGES

from mosdeploy.devices import job as room
from mosdeploy.devices.job import AgentJob, install_agent, python_path, run_python, work_dir
from mosdeploy.devices.local import LocalSession
from mosdeploy.errors import CommandError, ConfigError, DeviceBusyError

TIMING = {"median_ms": 2.0, "p90_ms": 2.5, "minimum_ms": 1.9, "repeats": 15}


@pytest.fixture
def job(make_profile):
    return AgentJob(LocalSession("dev"), make_profile(), "job")


@pytest.fixture
def results(job):
    path = Path(job.folder) / "results.jsonl"
    path.parent.mkdir(parents=True)
    return path


def test_the_work_folder_is_absolute(make_profile):
    session = LocalSession()
    assert work_dir(session, make_profile(work_dir="~/x/")) == f"{Path.home()}/x"
    with pytest.raises(ConfigError, match="must begin with '/' or '~/', got 'x'"):
        work_dir(session, make_profile(work_dir="x"))


def test_python_of_the_environment_comes_first(make_profile):
    profile = make_profile()
    assert python_path(LocalSession(), profile) == sys.executable
    venv = Path(profile.work_dir) / "venv" / "bin" / "python"
    venv.parent.mkdir(parents=True)
    venv.write_text("#!/bin/sh\necho the environment\n")
    venv.chmod(0o755)
    assert python_path(LocalSession(), profile) == "the environment"


def test_modules_of_the_current_folder_are_not_run(make_profile, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("print('planted')")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    for python in (sys.executable, "bin/python"):
        profile = make_profile(python=python)
        result = run_python(LocalSession(), profile, "-m planted")
        assert result.returncode == 1
        assert "No module named planted" in result.stderr
        found = run_python(LocalSession(), profile, "-c 'import os; print(os.getcwd())'")
        assert found.stdout == "/\n"


def test_a_work_folder_that_others_write_to_is_refused(make_profile):
    profile = make_profile()
    folder = Path(profile.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for mode in (0o700, 0o775):
        folder.chmod(mode)
        assert run_python(LocalSession(), profile, "-c pass").returncode == 0
    folder.chmod(0o777)
    with pytest.raises(CommandError, match="everybody may write to it"):
        run_python(LocalSession(), profile, "-c pass")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_work_folder_of_another_user_is_refused(make_profile):
    profile = make_profile()
    folder = Path(profile.work_dir)
    planted = folder / "venv" / "bin" / "python"
    planted.parent.mkdir(parents=True)
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    os.chown(folder, 12345, 12345)
    with pytest.raises(CommandError, match="belongs to another user"):
        python_path(LocalSession(), profile)


def test_the_agent_lies_in_a_folder_named_by_its_content(tmp_path):
    script = tmp_path / "agent.py"
    script.write_text("print(1)")
    first = install_agent(LocalSession(), str(tmp_path / "device"), [script])
    assert Path(first).read_text() == "print(1)"
    assert install_agent(LocalSession(), str(tmp_path / "device"), [script]) == first
    script.write_text("print(2)")
    assert install_agent(LocalSession(), str(tmp_path / "device"), [script]) != first


def test_job_json_declares_the_inputs_and_no_more(job, make_profile, monkeypatch):
    monkeypatch.setattr(room, "call_agent", lambda *_, **__: {"pid": 1})
    job.start({"a": "candidates/a.onnx"}, {"a": 2}, STAGES, threads=3, weights_bytes=4)
    request = json.loads((Path(job.folder) / "job.json").read_text())
    protocol = make_profile().measure.model_dump()
    assert request.keys() - protocol.keys() == {
        "models",
        "target_counts",
        "stages",
        "threads",
        "weights_bytes",
        "provider",
        "seed",
    }
    assert [stage["minus"] for stage in request["stages"]] == [None, None, "first"]
    assert request["stages"][0]["inputs"][0] == {
        "name": "source_ids",
        "shape": [1, 5],
        "dtype": "int64",
        "low": 4,
        "high": 50,
        "value": None,
    }
    assert (request["target_counts"], request["threads"]) == ({"a": 2}, 3)


def test_what_the_agent_refuses_is_raised(job, monkeypatch):
    answers = iter([{"busy": {"pid": 7, "job": "other"}}, {"error": "too old"}])
    monkeypatch.setattr(room, "call_agent", lambda *_, **__: next(answers))
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


def test_results_of_an_agent_of_0_1_0_keep_their_parts(job, results):
    measurement = {"total": TIMING, "encoder": TIMING, "decoder": TIMING}
    results.write_text(json.dumps({"key": "a", "measurement": measurement}) + "\n")
    (result,) = job.results()
    assert list(result.measurement.parts) == ["encoder", "decoder"]
    assert job.claimed_keys() == set()  # read already


def test_the_end_of_a_job_tells_why_it_stopped(job, results):
    assert job.failure() is None
    outcome = results.with_name("rc")
    outcome.write_text('{"rc": 0}')
    assert job.failure() is None
    outcome.write_text('{"rc": 1, "error": "the runtime cannot be imported: no numpy"}')
    assert "run `mosdeploy devices setup dev`" in str(job.failure())


def test_new_output_is_told_once(job, results):
    assert not job.has_new_log()
    results.with_name("agent.log").write_text("measuring a\n")
    assert job.has_new_log()
    assert not job.has_new_log()
