"""What runs on the device, by itself, and the agent of it."""

import ast
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from watching import wait_for

from mosdeploy.devices import on_device
from mosdeploy.devices.on_device import agent

SOURCES = sorted(Path(on_device.__file__).parent.glob("*.py"))
NEEDED = {
    "agent.py": {"numpy"},
    "benchmark.py": {"numpy", "onnxruntime", "tvm", "mosdeploy_runtime"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_parses_on_python_3_9_and_stands_alone(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1 or str(node.module).startswith("runtime.")
            if node.level == 0:
                names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == NEEDED.get(path.name, set())


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


def test_a_full_disk_is_told_before_the_weights_are_written(tmp_path):
    with pytest.raises(RuntimeError, match=r"disk full: .*weights\.bin needs .* MiB, .* MiB free"):
        agent.make_weights(tmp_path / "weights.bin", 1 << 60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by signal SIGKILL; out of memory?"),
        ("import os; os.abort()", "killed by signal SIGABRT"),
        ("import sys; print('one', file=sys.stderr); sys.exit('two')", "two"),
        ("import sys; sys.exit(4)", "exit status 4, and nothing printed"),
        ("print('{}'); print('profile saved')", "no result: profile saved"),
        ("import time; time.sleep(60)", "no result within 1 s"),
    ],
)
def test_whatever_ends_a_child_is_its_result(code, error, tmp_path, monkeypatch):
    (tmp_path / "archive.pyz").write_text(code)
    monkeypatch.setattr(agent, "ARCHIVE", tmp_path / "archive.pyz")
    assert agent.in_child(["benchmark"], timeout_s=1 if "sleep" in code else 30) == {"error": error}


def test_a_provider_s_error_says_which_library_it_lacks(tmp_path, monkeypatch):
    (tmp_path / "archive.pyz").write_text(
        "import sys\n"
        "print('E: Failed to load library a.so with error: b.so.13: none', file=sys.stderr)\n"
        "print('W: another line', file=sys.stderr)\n"
        'print(\'{"provider_error": "CUDA did not start"}\')\n'
    )
    monkeypatch.setattr(agent, "ARCHIVE", tmp_path / "archive.pyz")
    assert agent.in_child(["benchmark"], timeout_s=30)["provider_error"].endswith("b.so.13: none")


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
    def in_child(arguments, timeout_s):
        return {"error": "no"} if "measure" in arguments else {}

    monkeypatch.setattr(agent, "in_child", in_child)
    order = queue("one", times=3, keys="ab", every=2, models=["reference"])
    assert sorted(order) == ["a", "b", *["reference"] * 4]


def test_where_the_runtime_fails_no_model_is_at_fault(queue, monkeypatch, tmp_path):
    def in_child(arguments, timeout_s):
        return {"provider_error": "no runtime"} if "check" in arguments else {"error": "no"}

    monkeypatch.setattr(agent, "in_child", in_child)
    with pytest.raises(RuntimeError, match="no runtime"):
        queue("one", models=["reference"])
    assert not (tmp_path / "jobs" / "one" / "results.jsonl").exists()


def test_no_wait_depends_on_a_clock_that_may_jump():
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text())):
            # where a date is written down, and never compared
            if isinstance(function, ast.FunctionDef) and function.name != "now":
                calls = [x for x in ast.walk(function) if isinstance(x, ast.Call)]
                called = {ast.unparse(call.func) for call in calls}
                assert not {x for x in called if x.startswith("time.time") or "datetime" in x}


STARTS_A_SLEEPER = """
import sys
from pathlib import Path

from mosdeploy.devices import on_device
from mosdeploy.devices.on_device import agent

agent.ARCHIVE, on_device.MACHINE_LOCK = sys.argv[1:3]
on_device.main("agent", "run", sys.argv[3])
"""


def test_an_agent_holds_the_device_until_its_group_is_killed(two_users, tmp_path):
    text = "import os, sys, time\nopen(f'{sys.argv[3]}/pid', 'w').write(str(os.getpid()))\n"
    (tmp_path / "archive.py").write_text(f"{text}time.sleep(60)\n")

    def start(folder):
        words = [tmp_path / "archive.py", on_device.MACHINE_LOCK, folder / "jobs" / "job"]
        command = [sys.executable, "-c", STARTS_A_SLEEPER, *words]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    anna, ben = two_users
    pid = start(anna)["pid"]
    assert (anna / "jobs" / "job" / "pid").read_text() == str(pid)
    (anna / "agent.lock").write_text(json.dumps({"pid": pid, "job": "job"}))
    assert start(anna) == {"pid": pid}  # joined
    assert "busy" in start(ben)
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: (lock := on_device.take_lock(anna)) is not None and lock.close() is None)


def test_an_agent_whose_starter_was_ended_can_be_found(two_users, monkeypatch):
    job = two_users[0] / "jobs" / "job"
    monkeypatch.setattr(agent, "measure_all", lambda job_dir: None)
    agent.work(job)
    assert (job / "pid").read_text() == str(os.getpid())
    assert json.loads((job.parent.parent / "agent.lock").read_text())["job"] == "job"


def test_a_work_folder_without_locks_is_an_error(monkeypatch, tmp_path, capsys):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(on_device.fcntl, "flock", no_locks)
    on_device.main("agent", "busy", str(tmp_path))
    assert "No locks available; set work_dir" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("path", "script", "words"),
    [
        ("agent.lock", "agent", "busy {work}"),
        ("jobs/one/agent.log", "agent", "run {work}/jobs/one"),
        ("agent.lock", "slots", "remove {work} wheels"),
        ("bundles/en-de/.lock", "slots", "claim {work}/bundles/en-de one me no"),
    ],
)
def test_nothing_is_written_through_a_planted_link(tmp_path, path, script, words):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link = tmp_path / "work" / path
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    words = words.format(work=tmp_path / "work").split()
    start = f"import sys; from {on_device.__name__} import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", start, script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Too many levels of symbolic links" in done.stdout + done.stderr
    assert victim.read_text() == "mine"


def test_a_runtime_that_ends_its_process_is_told_beside_the_device(tmp_path, monkeypatch):
    monkeypatch.setattr(agent, "in_child", lambda arguments, timeout_s: {"error": "killed"})
    found = agent.probe(tmp_path, "CPUExecutionProvider")
    assert (found["provider_error"], found["cores"]) == ("killed", os.cpu_count())
