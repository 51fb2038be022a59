"""Times one model on the device, in the process that it is called in; says whether the runtime
works there.

In: a job folder and a key, or the name of a provider. Out: one line of JSON. Needs Python 3.9,
numpy and onnxruntime, or TVM; imports nothing of mosdeploy, for it is copied to the device with
agent.py, whose child it is.

    benchmark.py check PROVIDER         import the runtime and run one product on the provider
    benchmark.py measure JOB_DIR KEY    time one model
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import importlib.metadata
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

MAX_WARMUP = 20
TVM = "tvm"  # in place of a provider: what is timed is a bundle, which brings its runtime along
# y = MatMul(x, x), float32 (2, 2), opset 13
CHECK_MODEL = base64.b64decode(
    "CAgSADpAChEKAXgKAXgSAXkiBk1hdE11bBIBZ1oTCgF4Eg4KDAgBEggKAggCCgIIAmITCgF5Eg4KDAgBEggKAggCCgIIAkIECgAQDQ=="
)


def main(command: str, *arguments: str) -> None:
    """Run one command; print what it finds as one line of JSON."""
    commands: dict[str, Callable[..., dict[str, Any]]] = {"check": check, "measure": measure}
    print(json.dumps(commands[command](*arguments)), flush=True)


def check(provider: str) -> dict[str, Any]:
    """Import what a bundle needs and run one product on the provider: versions, and what went wrong
    first.
    """
    die_with_parent()
    found: dict[str, Any] = {}
    with contextlib.suppress(
        importlib.metadata.PackageNotFoundError
    ):  # to import it would take seconds
        found["tvm_version"] = importlib.metadata.version("apache-tvm")
    with contextlib.suppress(Exception):  # a broken wheel raises anything
        found["sentencepiece_version"] = __import__("sentencepiece").__version__
    try:
        import numpy as np

        found["numpy_version"] = np.__version__
        if provider == TVM:
            import tvm

            return {**found, "tvm_version": tvm.__version__}
        import onnxruntime as ort

        found.update(onnxruntime_version=ort.__version__, providers=ort.get_available_providers())
        options = ort.SessionOptions()
        options.log_severity_level = 4
        open_model(ort, CHECK_MODEL, options, provider).run(
            None, {"x": np.eye(2, dtype=np.float32)}
        )
    except ImportError as error:
        found["provider_error"] = f"the runtime cannot be imported: {error}"
    except Exception as error:
        found["provider_error"] = f"{provider} does not work: {str(error)[:500]}"
    return found


def measure(job_dir: str, key: str) -> dict[str, Any]:
    """Time one model: load, warm up, then encoder alone and the whole translation by turns."""
    die_with_parent()
    with contextlib.suppress(OSError):  # when memory runs out, this process goes, and not the agent
        Path("/proc/self/oom_score_adj").write_text("1000")
    job = json.loads(Path(job_dir, "job.json").read_text())
    if job["cpu_affinity"]:
        cpu_affinity(job["threads"])
    import numpy as np

    path, begin = Path(job_dir, job["models"][key]), time.perf_counter()
    translate = open_bundle(path, job) if job["provider"] == TVM else open_graph(np, path, job)
    load_ms = (time.perf_counter() - begin) * 1e3
    source = np.random.default_rng(job["seed"]).integers(
        4, job["vocab_size"], (1, job["source_len"]), dtype=np.int64
    )

    def run_ms(num_steps: int) -> tuple[float, float]:
        """Wall and processor time; what a GPU computes is over too, since the result is an array on
        the host.
        """
        begin_cpu_ns, begin_ns = time.process_time_ns(), time.perf_counter_ns()
        translate(source, num_steps)
        return (time.perf_counter_ns() - begin_ns) / 1e6, (
            time.process_time_ns() - begin_cpu_ns
        ) / 1e6

    rows = repeat(lambda: (*run_ms(job["decode_steps"]), *run_ms(0)), job)
    total, total_cpu, encoder, encoder_cpu = np.array(rows).T
    return {
        "total": statistics(np, total, total_cpu),
        "encoder": statistics(np, encoder, encoder_cpu),
        "decoder": statistics(np, total - encoder, total_cpu - encoder_cpu),
        "load_ms": load_ms,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def open_graph(np: Any, path: Path, job: dict[str, Any]) -> Callable[[Any, int], object]:
    """An ONNX file, as a function of source ids (1, S) and the number of steps."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = open_model(ort, str(path), options, job["provider"])

    def translate(source: Any, num_steps: int) -> object:
        steps = np.array(num_steps, dtype=np.int64)
        return session.run(None, {"source_ids": source, "max_steps": steps, "min_steps": steps})

    return translate


def open_bundle(path: Path, job: dict[str, Any]) -> Callable[[Any, int], object]:
    """A bundle, with the runtime beside it, as the same function; the end token replaces the last
    id of a source.
    """
    sys.path.insert(0, str(path.parent))
    from mosdeploy_runtime import Translator  # type: ignore[import-not-found]

    translator = Translator(path, threads=job["threads"])
    return lambda source, num_steps: translator.translate_ids(source[:, :-1].tolist(), num_steps)


def cpu_affinity(num_threads: int) -> None:
    """Stay on the fastest processors, of these the last ones, for interrupts prefer the first;
    none, if not allowed.
    """

    def rank(cpu: int) -> tuple[int, int]:
        return int(
            read_text(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq") or 0
        ), cpu

    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0), key=rank)[-num_threads:])


def repeat(once: Callable[[], tuple[float, ...]], job: dict[str, Any]) -> list[tuple[float, ...]]:
    """Warm up until two runs agree, then run until the median of the first column is known; both
    are bounded.
    """
    deadline, last_ms = time.monotonic() + job["max_time_s"], math.inf
    for count in range(1, max(MAX_WARMUP, job["warmup"]) + 1):
        this_ms = once()[0]
        steady = abs(this_ms - last_ms) <= this_ms * job["precision_percent"] / 100
        if count >= job["warmup"] and (steady or time.monotonic() > deadline):
            break
        last_ms = this_ms
    rows: list[tuple[float, ...]] = []
    begin, least_s = time.monotonic(), min(job["min_time_s"], job["max_time_s"])
    while len(rows) < job["max_repeats"]:
        rows.append(once())
        spent_s = time.monotonic() - begin
        if len(rows) < job["min_repeats"] or spent_s < least_s:
            continue
        if (
            spent_s > job["max_time_s"]
            or interval_percent([row[0] for row in rows]) <= job["precision_percent"]
        ):
            break
    return rows


def interval_percent(times_ms: list[float]) -> float:
    """Half the width of the median's 95% interval, relative to it: between two order statistics, no
    shape assumed.

    The ranks are those that a binomial count of the values below the median leaves with at most
    2.5% on each side.
    """
    ordered, count = sorted(times_ms), len(times_ms)
    rank = below = 0
    while (below := below + math.comb(count, rank)) <= 0.025 * 2**count:
        rank += 1
    rank = max(rank, 1)  # under six values, the interval is their range
    return (
        50
        * (ordered[-rank] - ordered[rank - 1])
        / ((ordered[count // 2] + ordered[(count - 1) // 2]) / 2)
    )


def open_model(ort: Any, model: str | bytes, options: Any, provider: str) -> Any:
    """Load a model on exactly this provider; ONNX Runtime alone would fall back to the CPU and say
    nothing.
    """
    if provider not in ort.get_available_providers():
        has = ", ".join(ort.get_available_providers())
        raise RuntimeError(
            f"{provider} is not in this onnxruntime {ort.__version__}, which has {has}"
        )
    session = ort.InferenceSession(model, options, providers=[provider])
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        raise RuntimeError(
            f"{provider} did not start; onnxruntime fell back to {session.get_providers()[0]}"
        )
    return session


def statistics(np: Any, times_ms: Any, cpu_ms: Any) -> dict[str, Any]:
    """Fields of a Timing."""
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


def peak_memory_bytes() -> int | None:
    """Most memory that this process has held, the interpreter's own included; None where Linux does
    not tell.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", read_text("/proc/self/status"))
    return int(found[1]) * 1024 if found else None


def die_with_parent() -> None:
    """Ask Linux to kill this child when the agent dies, so that nothing runs on unnoticed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def read_text(path: str | Path) -> str:
    """Text of a small file; empty when it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
