"""The law of collecting: each key once, whatever dies on the way."""

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_onnx import tiny_model
from watching import QUICK, STAGES, agent_pid, is_alive, result_lines, wait_for

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.devices import measure as room
from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.job import AgentJob, AgentResult
from mosdeploy.devices.measure import (
    MeasureHooks,
    MeasurementTask,
    collect,
    free_device,
    measure_model,
    model_task,
)
from mosdeploy.errors import CommandError, DeviceBusyError, DeviceTimeoutError
from mosdeploy.records import Measurement
from mosdeploy.storage import sha256_bytes

WEIGHTS_BYTES = 4096


def build(key):
    return tiny_model(weights_bytes=WEIGHTS_BYTES, broken=key == "broken")


def run(profile, keys, job_id="job", builder=build, connect=LocalSession):
    task = MeasurementTask(job_id, STAGES, threads=1, build=builder, weights_bytes=WEIGHTS_BYTES)
    return collect(Device(connect(), profile), task, keys)


def test_each_key_is_measured_once_and_a_failing_model_is_data(make_profile):
    profile = make_profile()
    found = dict(run(profile, ["a", "broken", "a"]))
    assert set(found) == {"a", "broken"}
    good = found["a"]
    assert good.error is None
    assert list(good.parts) == ["first", "rest"]
    assert {timing.repeats for timing in (good.total, *good.parts.values())} == {10}
    assert 0 < good.total.minimum_ms <= good.total.median_ms <= good.total.p90_ms
    assert good.load_ms > 0
    assert 1_000_000 < good.memory_bytes < good.peak_memory_bytes
    assert found["broken"].total is None
    assert "Add" in found["broken"].error or "broadcast" in found["broken"].error
    lines = result_lines(profile)
    assert sorted(line["key"] for line in lines) == ["a", "broken"]

    def never(key):
        raise AssertionError(f"{key} is built again")

    assert dict(run(profile, ["a", "broken"], builder=never)) == found
    assert result_lines(profile) == lines
    assert [x.name for x in (Path(profile.work_dir) / "weights").iterdir()] == [
        f"uniform-{WEIGHTS_BYTES}.bin"
    ]
    # the models are gone from the device, the results stay
    names = {x.name for x in (Path(profile.work_dir) / "jobs" / "job").iterdir()}
    assert "results.jsonl" in names
    assert "candidates" not in names


def test_an_agent_that_dies_after_each_result_is_started_as_often_as_it_takes(
    make_profile, monkeypatch
):
    keys = [f"k{i}" for i in range(room.MAX_FAILED_STARTS + 2)]
    left = [AgentResult(key=key, measurement=Measurement(error="no")) for key in keys]
    monkeypatch.setattr(AgentJob, "start", lambda *_, **__: None)
    monkeypatch.setattr(AgentJob, "is_running", lambda _: False)
    monkeypatch.setattr(room, "_follow", lambda *_: [left.pop(0)])
    assert [key for key, _ in run(make_profile(), keys)] == keys


def test_a_closed_iterator_leaves_the_agent_at_work_for_a_rerun(
    make_profile,
):
    profile = make_profile()
    keys = ["a", "b", "c"]
    first = run(profile, keys)
    seen = [next(first)[0]]
    first.close()
    pid = agent_pid(profile)
    with pytest.raises(DeviceBusyError, match=rf"pid {pid}, since 20\d\d-"):
        list(run(profile, ["x"], job_id="other"))
    with pytest.raises(
        DeviceBusyError, match=f"pid {pid}"
    ):  # the lock decides, should two look at the same moment
        AgentJob(Device(LocalSession(), profile), "other").start({}, {}, STAGES, threads=1)
    wait_for(lambda: not is_alive(pid))
    rest = dict(run(profile, [key for key in keys if key not in seen]))
    assert sorted([*seen, *rest]) == keys
    assert sorted(line["key"] for line in result_lines(profile)) == keys
    assert agent_pid(profile) == pid


def test_ctrl_c_ends_the_agent(make_profile):
    class Interrupted(LocalSession):
        def read(self, remote_path, offset=0):
            data = super().read(remote_path, offset)
            if remote_path.endswith("results.jsonl") and any(
                b"reference" not in x for x in data.splitlines()
            ):
                raise KeyboardInterrupt
            return data

    profile = make_profile()
    with pytest.raises(KeyboardInterrupt):
        list(run(profile, ["a", "b", "c"], connect=Interrupted))
    pid = agent_pid(profile)
    wait_for(lambda: not is_alive(pid))
    assert 1 <= len(result_lines(profile)) < 3


def test_a_time_out_of_a_candidate_is_data(make_profile):
    short = {"min_time_s": 0.0, "max_time_s": 0.001, "candidate_timeout_s": 0.01}
    protocol = MeasureProtocol(**QUICK, **short)
    found = dict(run(make_profile(measure=protocol), ["a"]))
    assert found["a"].error == "no result within 0.01 s"


class SessionWithoutProc(LocalSession):
    """As on macOS: nothing is known of a process but what `ps` tells."""

    def read(self, remote_path, offset=0):
        if remote_path.startswith("/proc/"):
            raise FileNotFoundError(remote_path)
        return super().read(remote_path, offset)


@pytest.mark.parametrize("connect", [LocalSession, SessionWithoutProc])
def test_what_a_killed_command_still_times_is_ended(make_profile, connect):
    profile = make_profile()
    own = model_task("/model", STAGES, 1, "pc:/run")
    folder = Path(profile.work_dir) / "jobs" / f"model-{sha256_bytes(b'/model pc:/run')[:12]}"
    folder.mkdir(parents=True)
    agent = ["sh", "-c", "read line", str(folder)]
    with subprocess.Popen(agent, stdin=subprocess.PIPE, start_new_session=True) as process:
        holder = {"pid": process.pid, "job": folder.name, "since": "noon"}
        (folder.parents[1] / "agent.lock").write_text(json.dumps(holder))
        (folder / "pid").write_text(str(process.pid))
        wait_for(Path(f"/proc/{process.pid}/cmdline").read_bytes)
        for words in (("/another-model", STAGES, 1, "pc:/run"), ("/model", STAGES, 1, "pc:/copy")):
            with pytest.raises(DeviceBusyError, match=f"pid {process.pid}"):
                free_device(Device(connect(), profile), model_task(*words))
        assert is_alive(process.pid)
        free_device(Device(connect(), profile), own)
        assert process.wait() == -signal.SIGKILL


class SilentJob:
    """An agent that checks the runtime for ever, or measures for ever after a first result."""

    def __init__(self, num_results):
        self.fresh = [[AgentResult(key="a", measurement=Measurement(error="no"))]] * num_results

    def results(self):
        return self.fresh.pop() if self.fresh else []

    def has_new_log(self):
        return False

    def is_running(self):
        return True

    def log_tail(self):
        return "checking"

    def kill(self):
        pass


@pytest.mark.parametrize(
    ("candidate_timeout_s", "num_results", "silence"),
    [(10.0, 0, "135 s"), (10.0, 1, "25 s"), (300.0, 0, "315 s"), (300.0, 1, "315 s")],
)
def test_an_agent_may_be_silent_while_it_checks(
    monkeypatch, candidate_timeout_s, num_results, silence
):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def pause(wait_s):
        clock[0] += wait_s

    hooks = MeasureHooks(pause=pause)
    with pytest.raises(DeviceTimeoutError, match=f"printed nothing for {silence} and was ended"):
        list(room._follow(SilentJob(num_results), candidate_timeout_s, hooks))


def test_what_is_measured_again_is_known_beforehand(make_profile):
    # never stable: all rounds but those before a second reference are flagged
    measure = MeasureProtocol(**{**QUICK, "max_drift_percent": 1e-9}, candidate_timeout_s=60.0)
    profile = make_profile(measure=measure)
    told = []
    hooks = MeasureHooks(
        observe=lambda result: told.append(result.key),
        repeat=lambda target_counts: told.append(dict(target_counts)),
    )
    task = MeasurementTask("job", STAGES, 1, build, WEIGHTS_BYTES)
    found = dict(collect(Device(LocalSession(), profile), task, ["a"], hooks))
    assert found["a"].attempts == 2
    assert [x for x in told if x != "reference"] == ["a", {"a": 2}, "a"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"python": "python-nowhere"}, r"no Python on the device: .*apt-get install python3"),
        ({"provider": "CUDAExecutionProvider"}, "has no CUDAExecutionProvider, only"),
        ({"python": None}, r"No module named 'numpy'; run `mosdeploy devices check dev --setup`"),
    ],
)
def test_what_the_device_lacks_is_named(make_profile, bare_python, changes, told):
    changes = {key: value or bare_python for key, value in changes.items()}
    with pytest.raises(CommandError, match=told):
        list(run(make_profile(**changes), ["a"]))


def test_a_key_that_would_leave_the_job_folder_is_refused(make_profile):
    with pytest.raises(ValueError, match="not a safe file name"):
        list(run(make_profile(), ["../../x"]))


@pytest.mark.parametrize("is_alive_still", [False, True])
def test_a_deployed_model_is_measured_afresh(make_profile, tmp_path, is_alive_still):
    profile = make_profile()
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model())
    job_id = f"model-{sha256_bytes(f'{model} '.encode())[:12]}"
    old = Path(profile.work_dir) / "jobs" / job_id / "results.jsonl"
    old.parent.mkdir(parents=True)
    old.write_text('{"key": "model", "measurement": {"error": "of last week"}}\n')
    task = model_task(str(model), STAGES, 1)
    with contextlib.ExitStack() as stack:
        if is_alive_still:  # an agent between its last result and its end
            agent = ["sh", "-c", "read line", str(old.parent)]
            ending = subprocess.Popen(agent, stdin=subprocess.PIPE, start_new_session=True)
            stack.enter_context(ending)
            (old.parent / "pid").write_text(str(ending.pid))
            wait_for(Path(f"/proc/{ending.pid}/cmdline").read_bytes)
        measurement = measure_model(Device(LocalSession(), profile), task)
    assert measurement.error is None
    assert measurement.total.repeats == 10
    assert [line["key"] for line in result_lines(profile, job_id)] == ["model"]
