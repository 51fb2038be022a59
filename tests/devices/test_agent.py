"""The file that runs on the device, by itself."""

import ast
import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mosdeploy.devices import agent


def test_it_needs_nothing_but_numpy_and_onnxruntime_and_parses_on_python_3_9():
    tree = ast.parse(Path(agent.__file__).read_text(), feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split(".")[0])
    needed, for_tvm = {"numpy", "onnxruntime"}, {"tvm", "mosdeploy_runtime"}
    assert names - set(sys.stdlib_module_names) == needed | for_tvm


def test_statistics_by_hand():
    times, cpu = np.array([5.0, 1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 9.0, 1.0])
    assert agent.statistics(np, times, cpu) == {
        "median_ms": 3.0,
        "p90_ms": 4.6,  # a tenth from the end: between 4 and 5, at 0.6
        "p99_ms": 4.96,
        "minimum_ms": 1.0,
        "repeats": 5,
        "interval_percent": pytest.approx(100 * 2 / 3),  # of five values no order statistics hold 95%: their range
        "cpu_ms": 2.0,
    }


def test_the_interval_of_a_median_by_hand():
    # Ten values: the second and the ninth, since P(at most 1 of 10 below the median) = 11/1024 = 1.1%, and 5.5% for 2.
    assert agent.interval_percent([float(x) for x in range(10, 0, -1)]) == pytest.approx(100 * 3.5 / 5.5)
    # A hundred: the 40th and the 61st, as in any table of order statistics.
    assert agent.interval_percent([float(x) for x in range(1, 101)]) == pytest.approx(100 * 10.5 / 50.5)
    assert agent.interval_percent([3.0] * 12) == 0.0


PROTOCOL = {
    "warmup": 2,
    "min_repeats": 10,
    "max_repeats": 40,
    "precision_percent": 2.0,
    "min_effort_s": 0.0,
    "effort_s": 1e3,
}


def repeated(times_ms, **changes):
    """How many runs were warm-up and how many counted, with a device that takes these times and then starts over."""
    series, num_runs = itertools.cycle(times_ms), itertools.count()

    def once():
        next(num_runs)
        return (next(series),)

    rows = agent.repeat(once, {**PROTOCOL, **changes})
    return next(num_runs) - len(rows), len(rows)


def test_warm_up_lasts_until_two_runs_agree():
    assert repeated([9.0, 5.0, 4.0, 4.01] + [4.0] * 50) == (4, 10)
    assert repeated([4.0]) == (2, 10)
    assert repeated([4.0], warmup=5) == (5, 10)


def test_repeats_end_when_the_median_is_known_and_are_bounded():
    assert repeated([4.0, 4.04])[1] == 10
    assert repeated([4.0, 5.0]) == (agent.MAX_WARMUP, 40)  # never steady, never known
    assert repeated([4.0, 5.0], effort_s=0.0) == (2, 10)  # no time left: the least that counts
    assert repeated([4.0], min_effort_s=1e3) == (2, 40)  # known at once, but not for long enough
    assert repeated([4.0], min_effort_s=1e3, effort_s=0.0) == (2, 10)
    assert 10 < repeated([4.0] * 6 + [4.0, 4.3, 4.2, 4.0, 4.1, 4.0, 4.0, 4.0])[1] < 40


def test_a_torn_last_line_is_cut_off_and_measured_again(tmp_path):
    results = tmp_path / "results.jsonl"
    assert agent.count_results(results) == {}
    results.write_text('{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n{"key": "c')
    assert agent.count_results(results) == {"a": 2, "b": 1}
    assert results.read_text() == '{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n'
    results.write_text('{"key')
    assert agent.count_results(results) == {}
    assert results.read_text() == ""


def test_weights_are_uniform_exact_in_size_and_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(agent, "WEIGHTS_BLOCK_BYTES", 1 << 12)
    agent.make_weights(tmp_path / "a.bin", 10_001)
    agent.make_weights(tmp_path / "b.bin", 10_001)
    data = (tmp_path / "a.bin").read_bytes()
    assert len(data) == 10_001
    assert data == (tmp_path / "b.bin").read_bytes()
    values = np.frombuffer(data[:10_000], np.float32)
    assert np.abs(values).max() <= 0.05
    assert np.abs(values).mean() == pytest.approx(0.025, rel=0.05)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.bin", "b.bin"]


def test_weights_are_shared_by_jobs_of_one_size(tmp_path):
    for job in ("one", "two"):
        (tmp_path / "jobs" / job / "candidates").mkdir(parents=True)
        agent.provide_weights(tmp_path / "jobs" / job, 4096)
        agent.provide_weights(tmp_path / "jobs" / job, 4096)
    files = [tmp_path / "jobs" / job / "candidates" / "weights.bin" for job in ("one", "two")]
    assert files[0].samefile(files[1])


def test_a_full_disk_is_told_before_the_weights_are_written(tmp_path):
    with pytest.raises(RuntimeError, match=r"disk full: .*weights\.bin needs .* MB, .* MB free"):
        agent.make_weights(tmp_path / "weights.bin", 1 << 60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by signal SIGKILL; out of memory?"),
        ("import os; os.abort()", "killed by signal SIGABRT"),
        ("import sys; print('one', file=sys.stderr); sys.exit('two')", "two"),
        ("import sys; sys.exit(4)", "exit status 4, and nothing printed"),
        ("import time; time.sleep(60)", "no result within 1 s"),
    ],
)
def test_whatever_ends_a_child_is_its_result(code, error, tmp_path, monkeypatch):
    script = tmp_path / "child.py"
    script.write_text(code)
    monkeypatch.setattr(agent, "__file__", str(script))
    assert agent.in_child([], timeout_s=1 if "sleep" in code else 30) == {"error": error}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Runs a job whose models take no time, and returns the keys in the order in which they were measured."""
    monkeypatch.setattr(agent, "in_child", lambda arguments, timeout_s: {})

    def run(name, seed=1, keys="abcdefgh", every=3, times=1, models=()):
        job_dir = tmp_path / "jobs" / name
        job_dir.mkdir(parents=True, exist_ok=True)
        job = {"models": dict.fromkeys([*keys, *models]), "wanted": dict.fromkeys(keys, times), "seed": seed}
        job.update(provider="x", weights_bytes=0, candidate_timeout_s=1, reference_every=every)
        (job_dir / "job.json").write_text(json.dumps(job))
        agent.measure_all(job_dir)
        return [json.loads(line)["key"] for line in (job_dir / "results.jsonl").read_text().splitlines()]

    return run


def test_the_order_is_drawn_by_the_seed(queue):
    first = queue("one")
    assert sorted(first) == list("abcdefgh") != first
    assert queue("two") == first != queue("three", seed=2)


def test_the_reference_comes_first_after_every_few_and_last(queue):
    order = queue("one", models=["reference"])
    assert [i for i, key in enumerate(order) if key == "reference"] == [0, 4, 8, 11]
    assert sorted(key for key in order if key != "reference") == list("abcdefgh")
    assert queue("one", models=["reference"])[12:] == ["reference"]  # all measured: only how the device is now
    again = queue("one", times=2, keys="ab", models=["reference"])[13:]
    assert [again[0], *sorted(again[1:3]), again[3]] == ["reference", "a", "b", "reference"]


def test_visits_are_made_in_rounds_and_only_those_that_are_missing(queue):
    order = queue("one", times=3, every=100)
    rounds = [order[start : start + 8] for start in (0, 8, 16)]
    assert [sorted(keys) for keys in rounds] == [list("abcdefgh")] * 3
    assert rounds[0] != rounds[1] != rounds[2]
    queue("two", times=1, keys="ab")
    assert sorted(queue("two", times=2, keys="abc", every=100)[2:]) == sorted("abcc")


def test_a_model_that_failed_is_not_visited_again_and_the_reference_is(queue, monkeypatch):
    monkeypatch.setattr(
        agent, "in_child", lambda arguments, timeout_s: {"error": "no"} if "measure" in arguments else {}
    )
    assert sorted(queue("one", times=3, keys="ab", every=2, models=["reference"])) == ["a", "b", *["reference"] * 4]


def test_no_wait_depends_on_a_clock_that_may_jump():
    for path in Path(agent.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        stamps = {"now"} if path.name == "agent.py" else {"deploy"}  # where a date is written down, never compared
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name not in stamps:
                called = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
                assert not {name for name in called if name in ("time.time", "time.time_ns") or "datetime" in name}


def test_throttling_and_gpu_clocks_come_from_the_device_s_own_tools(tmp_path, monkeypatch):
    tools = {"vcgencmd": "echo throttled=0x50005", "nvidia-smi": "echo 'TITAN Xp, 580.1, 1404 MHz'; echo second card"}
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    assert agent.first_line("no-such-tool") == ""
    assert agent.first_line("false") == ""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(agent, "in_child", lambda arguments, timeout_s: {})
    state = agent.probe(str(tmp_path), "CUDAExecutionProvider")
    assert (state["throttled"], state["gpu"]) == ("0x50005", "TITAN Xp, 580.1, 1404 MHz")
    assert "gpu" not in agent.probe(str(tmp_path), "CPUExecutionProvider")


def test_pinning_keeps_a_process_on_the_last_processors_and_a_refusal_is_no_fault(monkeypatch):
    held = []
    monkeypatch.setattr(agent.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(agent.os, "sched_setaffinity", lambda pid, cpus: held.append(cpus))
    frequencies = {"cpu0": "1800000", "cpu1": "2400000", "cpu2": "2400000", "cpu3": "1800000"}
    monkeypatch.setattr(agent, "read_text", lambda path: frequencies[path.split("/")[5]])
    agent.pin(1)
    agent.pin(3)
    agent.pin(9)
    assert held == [[2], [3, 1, 2], [0, 3, 1, 2]]

    def refuse(pid, cpus):
        raise PermissionError

    monkeypatch.setattr(agent.os, "sched_setaffinity", refuse)
    agent.pin(1)


def test_the_lock_is_free_again_when_its_holder_is_gone(tmp_path):
    job_dir = tmp_path / "jobs" / "one"
    job_dir.mkdir(parents=True)
    lock = agent.take_lock(job_dir)
    assert agent.take_lock(job_dir) is None
    lock.close()
    assert agent.take_lock(job_dir) is not None


def test_a_provider_that_onnxruntime_lacks_is_told(monkeypatch):
    monkeypatch.setattr(agent, "die_with_parent", lambda: None)
    found = agent.check("CPUExecutionProvider")
    assert "provider_error" not in found
    assert found["onnxruntime_version"]
    error = agent.check("CUDAExecutionProvider")["provider_error"]
    assert error.startswith("CUDAExecutionProvider does not work: CUDAExecutionProvider is not in this onnxruntime")
