"""The file that runs on the device, by itself."""

import ast
import json
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
    assert names - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_statistics_by_hand():
    assert agent.statistics(np, np.array([5.0, 1.0, 2.0, 3.0, 4.0])) == {
        "median_ms": 3.0,
        "p90_ms": 4.6,  # a tenth from the end: between 4 and 5, at 0.6
        "minimum_ms": 1.0,
        "repeats": 5,
    }


def test_a_torn_last_line_is_cut_off_and_measured_again(tmp_path):
    results = tmp_path / "results.jsonl"
    assert agent.finished_keys(results) == set()
    results.write_text('{"key": "a"}\n{"key": "b"}\n{"key": "c')
    assert agent.finished_keys(results) == {"a", "b"}
    assert results.read_text() == '{"key": "a"}\n{"key": "b"}\n'
    results.write_text('{"key')
    assert agent.finished_keys(results) == set()
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


def test_the_order_is_drawn_by_the_seed(tmp_path, monkeypatch):
    def order(name, seed):
        job_dir = tmp_path / "jobs" / name
        job_dir.mkdir(parents=True)
        models = {key: f"{key}.onnx" for key in "abcdefgh"}
        job = {"models": models, "seed": seed, "provider": "x", "weights_bytes": 0, "candidate_timeout_s": 1}
        (job_dir / "job.json").write_text(json.dumps(job))
        monkeypatch.setattr(agent, "in_child", lambda arguments, timeout_s: {})
        agent.measure_all(job_dir)
        return [json.loads(line)["key"] for line in (job_dir / "results.jsonl").read_text().splitlines()]

    first = order("one", 1)
    assert sorted(first) == list("abcdefgh") != first
    assert order("two", 1) == first != order("three", 2)


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
