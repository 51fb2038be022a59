"""The files that run on the device, by themselves, and the agent of the two."""

import ast
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mosdeploy.devices.on_device import agent, benchmark


@pytest.mark.parametrize(
    ("script", "needed"),
    [(agent, {"numpy"}), (benchmark, {"numpy", "onnxruntime", "tvm", "mosdeploy_runtime"})],
)
def test_it_parses_on_python_3_9_and_stands_alone(script, needed):
    tree = ast.parse(Path(script.__file__).read_text(), feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == needed


def test_a_torn_last_line_is_cut_off_and_measured_again(tmp_path):
    results = tmp_path / "results.jsonl"
    assert agent.count_results(results) == {}
    results.write_text('{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n{"key": "c')
    assert agent.count_results(results) == {"a": 2, "b": 1}
    assert results.read_text() == '{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n'
    results.write_text('{"key')
    assert agent.count_results(results) == {}
    assert results.read_text() == ""


def test_weights_are_uniform_exact_in_size_and_reproducible(tmp_path, monkeypatch):
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
    (tmp_path / "benchmark.py").write_text(code)
    monkeypatch.setattr(agent, "__file__", str(tmp_path / "agent.py"))
    assert agent.in_child([], timeout_s=1 if "sleep" in code else 30) == {"error": error}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Runs a job whose models take no time, and returns the keys in the order in which they were
    measured.
    """
    monkeypatch.setattr(agent, "in_child", lambda arguments, timeout_s: {})

    def run(name, seed=1, keys="abcdefgh", every=3, times=1, models=()):
        job_dir = tmp_path / "jobs" / name
        job_dir.mkdir(parents=True, exist_ok=True)
        job = {
            "models": dict.fromkeys([*keys, *models]),
            "target_counts": dict.fromkeys(keys, times),
            "seed": seed,
        }
        job.update(provider="x", weights_bytes=0, candidate_timeout_s=1, reference_every=every)
        (job_dir / "job.json").write_text(json.dumps(job))
        agent.measure_all(job_dir)
        return [
            json.loads(line)["key"] for line in (job_dir / "results.jsonl").read_text().splitlines()
        ]

    return run


def test_the_order_is_drawn_by_the_seed(queue):
    first = queue("one")
    assert sorted(first) == list("abcdefgh") != first
    assert queue("two") == first != queue("three", seed=2)


def test_the_reference_comes_first_after_every_few_and_last(queue):
    order = queue("one", models=["reference"])
    assert [i for i, key in enumerate(order) if key == "reference"] == [0, 4, 8, 11]
    assert sorted(key for key in order if key != "reference") == list("abcdefgh")
    assert queue("one", models=["reference"])[12:] == [
        "reference"
    ]  # all measured: only how the device is now
    again = queue("one", times=2, keys="ab", models=["reference"])[13:]
    assert [again[0], *sorted(again[1:3]), again[3]] == ["reference", "a", "b", "reference"]


def test_only_missing_results_are_measured_round_by_round(queue):
    order = queue("one", times=3, every=100)
    rounds = [order[start : start + 8] for start in (0, 8, 16)]
    assert [sorted(keys) for keys in rounds] == [list("abcdefgh")] * 3
    assert rounds[0] != rounds[1] != rounds[2]
    queue("two", times=1, keys="ab")
    assert sorted(queue("two", times=2, keys="abc", every=100)[2:]) == sorted("abcc")


def test_a_model_that_failed_is_not_tried_again(queue, monkeypatch):
    monkeypatch.setattr(
        agent,
        "in_child",
        lambda arguments, timeout_s: {"error": "no"} if "measure" in arguments else {},
    )
    assert sorted(queue("one", times=3, keys="ab", every=2, models=["reference"])) == [
        "a",
        "b",
        *["reference"] * 4,
    ]


def test_no_wait_depends_on_a_clock_that_may_jump():
    for path in Path(agent.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        stamps = (
            {"now"} if path.name == "agent.py" else {"deploy"}
        )  # where a date is written down, never compared
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name not in stamps:
                called = {
                    ast.unparse(node.func)
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call)
                }
                assert not {
                    name
                    for name in called
                    if name in ("time.time", "time.time_ns") or "datetime" in name
                }


def test_throttling_and_gpu_clocks_come_from_the_device_s_tools(tmp_path, monkeypatch):
    tools = {
        "vcgencmd": "echo throttled=0x50005",
        "nvidia-smi": "echo 'TITAN Xp, 580.1, 1404 MHz'; echo second card",
    }
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


def test_the_lock_is_free_again_when_its_holder_is_gone(tmp_path):
    job_dir = tmp_path / "jobs" / "one"
    job_dir.mkdir(parents=True)
    lock = agent.take_lock(job_dir)
    assert agent.take_lock(job_dir) is None
    lock.close()
    again = agent.take_lock(job_dir)
    assert again is not None
    again.close()


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("numpy", "numpy"),
        ("apache-tvm>=0.27,<0.28", "apache-tvm"),
        ("onnxruntime-gpu[cuda,cudnn]", "onnxruntime-gpu"),
        (" tiny_runtime @ https://example.org/x.whl", "tiny_runtime"),
    ],
)
def test_a_requirement_begins_with_its_name(requirement, name):
    assert agent.requirement_name(requirement) == name


def test_versions_are_told_of_what_is_installed_and_required():
    found = agent.installed_versions(["numpy>=1", "not-to-be-found"])
    assert found == {"numpy": np.__version__}
