"""Times one model on a device, in the process that it is called in, or checks the runtime there."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runtime.execution import GPU_PROVIDERS
from ...runtime.manifest import INDEPENDENT_ROWS
from . import PARENT, read_text

MAX_WARMUP = 20
LOOK_AT_EACH = 200
LOOK_EVERY = 100
"""How often the times are looked at beyond that many: at 2,000 of them it takes 7 ms."""

TOTAL = "total"
"""The stage that runs the model as deployed; the repeats end when its median is known."""

CPUS = "/sys/devices/system/cpu/cpu"

Run = Callable[[dict[str, Any]], object]
"""Runs a loaded model on arrays by name."""

# y = MatMul(x, x), float32 (2, 2), opset 13
CHECK_MODEL = base64.b64decode(
    "CAgSADpAChEKAXgKAXgSAXkiBk1hdE11bBIBZ1oTCgF4Eg4KDAgBEggKAggCCgIIAmITCgF5Eg4KDAgBEggKAggCCgIIAkIECgAQDQ=="
)


def check(provider: str) -> dict[str, Any]:
    """Run one product on a provider: `providers`, those of the installed ONNX Runtime, and
    `provider_error`, what went wrong first.
    """
    die_with_parent()
    found: dict[str, Any] = {}
    try:
        import numpy as np
        import onnxruntime as ort

        found["providers"] = ort.get_available_providers()
        from ...runtime.session import LoadedModel

        model = LoadedModel(CHECK_MODEL, 1, [provider])
        model.run({"x": np.eye(2, dtype=np.float32)})
    except ImportError as error:
        found["provider_error"] = f"the runtime cannot be imported: {error}"
    except Exception as error:
        found["provider_error"] = f"{provider} does not work: {str(error)[:500]}"
    return found


# -- timing ----------------------------------------------------------------------------------------


def measure(job_dir: Path, key: str) -> dict[str, Any]:
    """Time one model: load it, warm up, then run its stages in turn, repeat by repeat."""
    die_with_parent()
    die_first_without_memory()
    job = json.loads((job_dir / "job.json").read_text())
    if job["cpu_affinity"]:
        set_cpu_affinity(job["threads"])
    import numpy as np

    path = job_dir / job["models"][key]
    load = open_bundle(path, job) if path.is_dir() else open_graph(path, job)
    base_bytes = memory_bytes("VmRSS")
    begin = time.perf_counter()
    run = load()
    load_ms = (time.perf_counter() - begin) * 1e3
    inputs = {
        stage["name"]: make_inputs(np, stage["inputs"], job["seed"])
        for stage in job["stages"]
        if stage["minus"] is None
    }
    rows = repeat(lambda: [ms for stage in inputs.values() for ms in time_run(run, stage)], job)
    columns = np.array(rows).T  # (2 * stages, repeats): wall and processor time of each stage
    wall_ms = dict(zip(inputs, columns[0::2]))  # noqa: B905  # Python 3.9
    cpu_ms = dict(zip(inputs, columns[1::2]))  # noqa: B905
    for stage in job["stages"]:
        if stage["minus"] is not None:
            # of two runs, the longer of which may have been disturbed
            for column in (wall_ms, cpu_ms):
                left_ms = column[TOTAL] - column[stage["minus"]]
                column[stage["name"]] = np.maximum(left_ms, 0.0)
    parts = {name: statistics(np, wall_ms[name], cpu_ms[name]) for name in wall_ms}
    peak_bytes = memory_bytes("VmHWM")
    # both are counted in batches of pages, so that no growth may be a little less than none
    own_bytes = max(peak_bytes - base_bytes, 0) if peak_bytes and base_bytes else None
    return {
        TOTAL: parts.pop(TOTAL),
        "parts": parts,
        "load_ms": load_ms,
        "peak_memory_bytes": peak_bytes,
        "memory_bytes": own_bytes,
    }


def make_inputs(np: Any, declared: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Make up the inputs of a stage, by name."""
    arrays = {}
    for each in declared:
        if each["value"] is not None:
            arrays[each["name"]] = np.full(each["shape"], each["value"], each["dtype"])
        else:
            rng = np.random.default_rng(seed)
            integers = rng.integers(each["low"], each["high"], each["shape"])
            arrays[each["name"]] = integers.astype(each["dtype"])
    return arrays


def open_graph(path: Path, job: dict[str, Any]) -> Callable[[], Run]:
    """Import ONNX Runtime; the result loads an ONNX file."""
    from ...runtime.session import LoadedModel, words_in

    providers = [job["provider"]]
    independent = bool(words_in(path, [INDEPENDENT_ROWS]))
    if job["provider"] in GPU_PROVIDERS:
        # CUDA's own host memory, hundreds of MiB, is taken with the first model, whichever it is
        LoadedModel(CHECK_MODEL, job["threads"], providers)
    return lambda: LoadedModel(str(path), job["threads"], providers, independent).run


def open_bundle(path: Path, job: dict[str, Any]) -> Callable[[], Run]:
    """Import TVM and the runtime beside a bundle; the result loads the bundle."""
    with contextlib.suppress(ImportError):  # of which the bundle tells
        import tvm  # noqa: F401  # what it takes is not the model's
    sys.path.insert(0, str(path.parent))
    from mosdeploy_runtime import open_model  # type: ignore[import-not-found]

    def load() -> Run:
        model = open_model(path, threads=job["threads"])
        return lambda inputs: model.run(inputs)

    return load


def set_cpu_affinity(num_threads: int) -> None:
    """Keep this process on the fastest kind of processors, there on one of each core before both of
    one, and then on the last, since interrupts prefer the first; without effect where that is not
    allowed.
    """

    def rank(cpu: int) -> tuple[float, bool, int, int]:
        siblings = re.findall(r"\d+", read_text(f"{CPUS}{cpu}/topology/thread_siblings_list"))
        # two threads of one core share what computes
        is_first = cpu == min({cpu, *map(int, siblings)} & allowed)
        return highest[clocks[cpu]], is_first, clocks[cpu], cpu

    with contextlib.suppress(OSError, AttributeError):
        allowed = os.sched_getaffinity(0)
        paths = {cpu: f"{CPUS}{cpu}/cpufreq/cpuinfo_max_freq" for cpu in allowed}
        texts = {cpu: read_text(path) for cpu, path in paths.items()}
        clocks = {cpu: int(text) if text.isdecimal() else 0 for cpu, text in texts.items()}
        highest = {}  # of a kind, by each clock of it: some cores may be favoured with a tenth more
        kind = math.inf
        for clock in sorted(clocks.values(), reverse=True):
            kind = clock if clock < 0.9 * kind else kind
            highest[clock] = kind
        os.sched_setaffinity(0, sorted(allowed, key=rank)[-num_threads:])


def repeat(once: Callable[[], list[float]], job: dict[str, Any]) -> list[list[float]]:
    """Warm up until two runs agree, then run until the median of the first column is known to
    `precision_percent`; both are bounded by a number of runs and, once `warmup` and `min_repeats`
    are made, by `max_time_s`.
    """
    deadline = time.monotonic() + job["max_time_s"]
    last_ms = math.inf
    for count in range(1, max(MAX_WARMUP, job["warmup"]) + 1):
        this_ms = once()[0]
        steady = abs(this_ms - last_ms) <= this_ms * job["precision_percent"] / 100
        if count >= job["warmup"] and (steady or time.monotonic() > deadline):
            break
        last_ms = this_ms
    rows: list[list[float]] = []
    begin = time.monotonic()
    min_time_s = min(job["min_time_s"], job["max_time_s"])
    while len(rows) < job["max_repeats"]:
        rows.append(once())
        elapsed_s = time.monotonic() - begin
        if len(rows) < job["min_repeats"] or elapsed_s < min_time_s:
            continue
        if elapsed_s > job["max_time_s"]:
            break
        if len(rows) > LOOK_AT_EACH and len(rows) % LOOK_EVERY:
            continue
        if interval_percent([row[0] for row in rows]) <= job["precision_percent"]:
            break
    return rows


def statistics(np: Any, times_ms: Any, cpu_ms: Any) -> dict[str, Any]:
    """Fields of a Timing, from the wall and processor times of all repeats."""
    median_ms = float(np.median(times_ms))
    return {
        "median_ms": median_ms,
        "p90_ms": float(np.percentile(times_ms, 90)),
        "p99_ms": float(np.percentile(times_ms, 99)),
        "minimum_ms": float(times_ms.min()),
        "repeats": len(times_ms),
        "interval_percent": interval_percent(times_ms.tolist()) if median_ms > 0 else None,
        "cpu_ms": float(np.median(cpu_ms)),
    }


def interval_percent(times_ms: list[float]) -> float:
    """Half the width of the median's 95% interval, relative to the median, in percent."""
    ordered = sorted(times_ms)
    count = len(ordered)
    rank = 0
    ways = 1  # to have `rank` of the values below the median, of 2**count
    below = 1
    while 40 * below <= 2**count:  # in whole numbers: no float is as large as 2**1024
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    rank = max(rank, 1)  # under six values, the interval is their range
    median_ms = (ordered[count // 2] + ordered[(count - 1) // 2]) / 2
    return 50 * (ordered[-rank] - ordered[rank - 1]) / median_ms


def time_run(
    run: Callable[[dict[str, Any]], object], inputs: dict[str, Any]
) -> tuple[float, float]:
    """Wall and processor time of one run, in milliseconds."""
    begin_cpu_ns = time.process_time_ns()
    begin_ns = time.perf_counter_ns()
    run(inputs)
    wall_ms = (time.perf_counter_ns() - begin_ns) / 1e6
    return wall_ms, (time.process_time_ns() - begin_cpu_ns) / 1e6


# -- the runtime and the process -------------------------------------------------------------------


def memory_bytes(name: str) -> int | None:
    """Memory that this process holds (VmRSS), or the most that it has held (VmHWM), the
    interpreter's own included; None where the system does not report it.
    """
    found = re.search(rf"{name}:\s+(\d+) kB", read_text("/proc/self/status"))
    return int(found[1]) * 1024 if found else None


def die_with_parent() -> None:
    """Ask Linux to kill this process when the agent ends, so that nothing runs on unnoticed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        sys.exit("the agent has ended")  # before it was asked


def die_first_without_memory() -> None:
    """Ask Linux to kill this process, and not the agent, when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
