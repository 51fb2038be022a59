"""How often a model is run, and what its times say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

MAX_WARMUP = 20
LOOK_AT_EACH = 200
LOOK_EVERY = 100
"""How often the times are looked at beyond that many: at 2,000 of them it takes 7 ms."""


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
