"""How one model is timed."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from watching import PROTOCOL, STAGES

from mosdeploy.devices.on_device import benchmark
from mosdeploy.runtime.manifest import INDEPENDENT_ROWS


def test_cpu_affinity_takes_the_fastest_and_last_processors(monkeypatch):
    held = []
    monkeypatch.setattr(benchmark.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(benchmark.os, "sched_setaffinity", lambda pid, cpus: held.append(cpus))
    frequencies = {"cpu0": "1800000", "cpu1": "2400000", "cpu2": "2400000", "cpu3": "1800000"}
    siblings = dict.fromkeys(frequencies, "")

    def read_text(path: str) -> str:
        return (siblings if path.endswith("_list") else frequencies)[path.split("/")[5]]

    monkeypatch.setattr(benchmark, "read_text", read_text)
    benchmark.set_cpu_affinity(1)
    benchmark.set_cpu_affinity(3)
    benchmark.set_cpu_affinity(9)
    assert held == [[2], [3, 1, 2], [0, 3, 1, 2]]
    # two hardware threads a core: one of each core before both of one
    frequencies = dict.fromkeys(frequencies, "2400000")
    siblings = {"cpu0": "0-1", "cpu1": "0-1", "cpu2": "2,3", "cpu3": "2,3"}
    benchmark.set_cpu_affinity(2)
    benchmark.set_cpu_affinity(3)
    assert held[3:] == [[0, 2], [3, 0, 2]]

    def refuse(pid, cpus):
        raise PermissionError

    monkeypatch.setattr(benchmark.os, "sched_setaffinity", refuse)
    benchmark.set_cpu_affinity(1)


@pytest.mark.parametrize(
    ("clocks", "num_threads", "held"),
    [
        # cores 2 and 5 are favoured
        ([4800, 4800, 5000, 4800, 4800, 5000, 4800, 4800], 2, {2, 5}),
        ([4800, 4800, 5000, 4800, 4800, 5000, 4800, 4800], 4, {2, 5, 6, 7}),
        ([4800, 4800, 5000, 4800, 4800, 5000, 4800, 4800], 9, {0, 1, 2, 3, 4, 5, 6, 7, 13}),
        # performance cores, one of them favoured, and efficiency cores
        ([5000, 5200, 3800, 3800, 3800, 3800, 3800, 3800], 3, {0, 1, 9}),
    ],
)
def test_cpu_affinity_takes_each_core_once_before_favoured_ones_twice(
    monkeypatch, clocks, num_threads, held
):
    """Eight cores of two threads each: the second ones have the numbers from 8 on."""

    def read_text(path: str) -> str:
        core = int(path.split("/")[5].removeprefix("cpu")) % 8
        return f"{core},{core + 8}" if path.endswith("_list") else str(clocks[core] * 1000)

    kept = []
    monkeypatch.setattr(benchmark, "read_text", read_text)
    monkeypatch.setattr(benchmark.os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setattr(benchmark.os, "sched_setaffinity", lambda pid, cpus: kept.append(cpus))
    benchmark.set_cpu_affinity(num_threads)
    assert set(kept[0]) == held


DECLARED = [stage.model_dump(mode="json") for stage in STAGES]


def test_inputs_are_random_integers_or_one_value():
    inputs = benchmark.make_inputs(np, DECLARED[0]["inputs"], seed=7)
    expected = np.random.default_rng(7).integers(4, 50, (1, 5), dtype=np.int64)
    assert np.array_equal(inputs["source_ids"], expected)
    assert inputs["source_ids"].dtype == np.int64
    steps = inputs["max_steps"]
    assert (steps.shape, steps.dtype, int(steps)) == ((), np.dtype("int64"), 4)
    mask = {"name": "mask", "shape": [2, 3], "dtype": "float32", "low": 0, "high": 1, "value": 1.0}
    (made,) = benchmark.make_inputs(np, [mask], seed=7).values()
    assert np.array_equal(made, np.ones((2, 3)))
    assert made.dtype == np.float32


@pytest.fixture
def write_job(tmp_path, monkeypatch):
    """Write a job.json with one model, `a`, and keep the effects of `measure` off this process."""
    monkeypatch.setattr(benchmark, "die_with_parent", lambda: None)
    monkeypatch.setattr(benchmark, "die_first_without_memory", lambda: None)

    def write(path, provider="CPUExecutionProvider", **changes):
        job = {"models": {"a": str(path)}, "stages": DECLARED, "threads": 1, "provider": provider}
        job |= {**PROTOCOL, "seed": 7, "cpu_affinity": False, **changes}
        (tmp_path / "job.json").write_text(json.dumps(job))

    return write


def test_a_stage_with_minus_is_what_is_left_of_total(tmp_path, write_job, monkeypatch):
    # Wall times of total and of the first stage by turns: what is left is 6, 7, 6, 7, ... ms, whose
    # median differs from the difference of the medians when both vary together.
    wall_ms = itertools.cycle([10.0, 4.0, 12.0, 5.0])
    runs = []

    def time_run(run, inputs):
        runs.append(int(inputs["max_steps"]))
        return next(wall_ms), 1.0

    monkeypatch.setattr(benchmark, "open_graph", lambda path, job: lambda: None)
    monkeypatch.setattr(benchmark, "time_run", time_run)
    write_job("model.onnx", max_repeats=10)
    found = benchmark.measure(tmp_path, "a")
    assert found["total"]["median_ms"] == 11.0
    assert list(found["parts"]) == ["first", "rest"]
    assert found["parts"]["first"]["median_ms"] == 4.5
    assert found["parts"]["rest"]["median_ms"] == 6.5
    assert found["parts"]["rest"]["minimum_ms"] == 6.0
    assert found["parts"]["rest"]["cpu_ms"] == 0.0
    assert runs == [4, 0] * (len(runs) // 2)  # `rest` is never run


def test_what_is_left_of_a_disturbed_run_is_nothing_at_least(tmp_path, write_job, monkeypatch):
    wall_ms = itertools.cycle([10.0, 4.0, 10.0, 15.0])  # every second run of the part is disturbed
    monkeypatch.setattr(benchmark, "open_graph", lambda path, job: lambda: None)
    monkeypatch.setattr(benchmark, "time_run", lambda run, inputs: (next(wall_ms), 1.0))
    write_job("model.onnx", max_repeats=10)
    assert benchmark.measure(tmp_path, "a")["parts"]["rest"]["minimum_ms"] == 0.0


@pytest.mark.parametrize(
    ("threads", "is_marked", "rows"), [(2, True, [3, 2]), (2, False, [5]), (1, True, [5])]
)
def test_independent_rows_are_run_as_the_runtime_does(
    tmp_path, monkeypatch, threads, is_marked, rows
):
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(
        [helper.make_node("Shape", ["x"], ["n"], start=0, end=1)],
        "count",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    if is_marked:
        helper.set_model_props(model, {INDEPENDENT_ROWS: "1"})
    path.write_bytes(model.SerializeToString())
    job = {"threads": threads, "provider": "CPUExecutionProvider"}
    found = benchmark.open_graph(path, job)()({"x": np.zeros(5, np.float32)})
    assert np.ravel(found).tolist() == rows


CHILD = """
import pathlib, time
from mosdeploy.devices.on_device import benchmark
benchmark.die_with_parent()
benchmark.die_first_without_memory()
print(pathlib.Path("/proc/self/oom_score_adj").read_text().strip(), flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
child.wait()
"""


def test_what_is_measured_ends_with_the_agent_and_first_without_memory():
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        pid, first_to_go = map(int, agent.stdout.readline().split())
        agent.kill()
    assert first_to_go == 1000
    stat = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 20
    # gone, or dead where nothing waits for it
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end, "it outlives the agent"
        time.sleep(0.05)


def test_a_process_keeps_to_its_processors_and_loading_is_timed(tmp_path, write_job, monkeypatch):
    kept = []
    clock = [100.0]

    def load():
        clock[0] += 2.5

    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(benchmark, "set_cpu_affinity", kept.append)
    monkeypatch.setattr(benchmark, "open_graph", lambda path, job: load)
    monkeypatch.setattr(benchmark, "time_run", lambda run, inputs: (1.0, 1.0))
    write_job("model.onnx", cpu_affinity=True, threads=2)
    assert benchmark.measure(tmp_path, "a")["load_ms"] == 2500.0
    write_job("model.onnx", cpu_affinity=False)
    benchmark.measure(tmp_path, "a")
    assert kept == [2]


def test_wall_and_processor_time_of_a_run_are_told_apart(monkeypatch):
    clocks = {"perf_counter_ns": 0, "process_time_ns": 0}
    for name in clocks:
        monkeypatch.setattr(benchmark.time, name, lambda name=name: clocks[name])

    def run(inputs):
        clocks["perf_counter_ns"] += 5_000_000
        clocks["process_time_ns"] += 9_000_000  # on several threads

    assert benchmark.time_run(run, {}) == (5.0, 9.0)


RUNTIME = """
class Model:
    def __init__(self, path, threads):
        self.path = path
        self.threads = threads

    def run(self, inputs):
        assert sorted(inputs) == ["max_steps", "min_steps", "source_ids"]
        return [self.path, self.threads]

open_model = Model
"""


def test_a_bundle_is_run_by_the_runtime_beside_it(tmp_path, monkeypatch):
    (tmp_path / "mosdeploy_runtime.py").write_text(RUNTIME)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mosdeploy_runtime", raising=False)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    run = benchmark.open_bundle(bundle, {"threads": 3})()
    inputs = benchmark.make_inputs(np, DECLARED[0]["inputs"], seed=7)
    assert run(inputs) == [bundle, 3]
    monkeypatch.delitem(sys.modules, "mosdeploy_runtime")


def test_statistics_by_hand():
    times = np.array([5.0, 1.0, 2.0, 3.0, 4.0])
    cpu = np.array([2.0, 2.0, 2.0, 9.0, 1.0])
    assert benchmark.statistics(np, times, cpu) == {
        "median_ms": 3.0,
        "p90_ms": 4.6,  # a tenth from the end: between 4 and 5, at 0.6
        "p99_ms": 4.96,
        "minimum_ms": 1.0,
        "repeats": 5,
        # of five values no order statistics hold 95%: their range
        "interval_percent": pytest.approx(100 * 2 / 3),
        "cpu_ms": 2.0,
    }


def test_the_interval_of_a_median_by_hand():
    # Ten values: the second and the ninth, since P(at most 1 of 10 below the median) = 11/1024 =
    # 1.1%, and 5.5% for 2.
    # A hundred: the 40th and the 61st, as in any table of order statistics.
    # As many as a profile may ask for: 5000.5 -+ 1.96 * sqrt(10000) / 2, the normal approximation.
    for count, percent in ((10, 350 / 5.5), (100, 1050 / 50.5), (10_000, 9800 / 5000.5)):
        found = benchmark.interval_percent([float(x) for x in range(count, 0, -1)])
        assert found == pytest.approx(percent, rel=0.01 if count > 100 else 1e-6)
    assert benchmark.interval_percent([3.0] * 12) == 0.0


def repeated(times_ms, **changes):
    """How many runs were warm-up and how many counted, with a device that takes these times and
    then starts over.
    """
    series = itertools.cycle(times_ms)
    num_runs = itertools.count()

    def once():
        next(num_runs)
        return [next(series)]

    rows = benchmark.repeat(once, {**PROTOCOL, **changes})
    return next(num_runs) - len(rows), len(rows)


def test_warm_up_lasts_until_two_runs_agree():
    assert repeated([9.0, 5.0, 4.0, 4.01] + [4.0] * 50) == (4, 10)
    assert repeated([4.0]) == (2, 10)
    assert repeated([4.0], warmup=5) == (5, 10)


def test_repeats_end_when_the_median_is_known_and_are_bounded():
    assert repeated([4.0, 4.04])[1] == 10
    assert repeated([4.0, 5.0]) == (benchmark.MAX_WARMUP, 40)  # never steady, never known
    assert repeated([4.0, 5.0], max_time_s=0.0) == (2, 10)  # no time left: the least that counts
    assert repeated([4.0], min_time_s=1e3) == (2, 40)  # known at once, but not for long enough
    assert repeated([4.0], min_time_s=1e3, max_time_s=0.0) == (2, 10)
    assert 10 < repeated([4.0] * 6 + [4.0, 4.3, 4.2, 4.0, 4.1, 4.0, 4.0, 4.0])[1] < 40
