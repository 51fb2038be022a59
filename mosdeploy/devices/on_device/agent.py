"""Runs on a device: times models one after the other."""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from . import (
    ARCHIVE,
    PARENT,
    folder_holder,
    link_or_copy,
    machine_holder,
    open_own,
    read_text,
    replace,
    take_lock,
    take_machine_lock,
)
from . import busy as busy  # a command

CHECK_TIMEOUT_S = 120.0
START_S = 30.0  # a small board loads Python in a second or two
WEIGHTS_BLOCK_BYTES = 16 << 20
SPARE_DISK_BYTES = 8 << 20  # left free for results and logs
# that of Linux runs on while the device sleeps
UPTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
REFERENCE = "reference"
"""The key of the model that is timed again and again, to show how the device's speed changes."""


# -- the job ---------------------------------------------------------------------------------------


def run(job_dir: Path) -> dict[str, Any]:
    """Start a job, or join it if it runs already: {"pid"}, that of the agent; {"busy"}, what holds
    the device; or {"error"}.
    """
    work_dir = job_dir.parent.parent
    lock = take_lock(work_dir)
    if lock is None:
        holder = folder_holder(work_dir)
        return {"pid": holder["pid"]} if holder.get("job") == job_dir.name else {"busy": holder}
    machine_lock = take_machine_lock()
    if machine_lock is None:
        lock.close()
        return {"busy": machine_holder()}
    (job_dir / "rc").unlink(missing_ok=True)
    with lock, machine_lock, os.fdopen(open_own(job_dir / "agent.log"), "a") as output:
        agent = subprocess.Popen(
            [sys.executable, str(ARCHIVE), "agent", "work", str(job_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock.fileno(), machine_lock.fileno()),  # locked until the agent ends
        )
        # the agent notes its pid, so that it is found where its starter was ended
        deadline = time.monotonic() + START_S
        while read_text(job_dir / "pid") != str(agent.pid) and time.monotonic() < deadline:
            if agent.poll() is not None:
                break
            time.sleep(0.01)
    return {"pid": agent.pid}


def work(job_dir: Path) -> dict[str, Any]:
    """Measure, then write into rc how it ended."""
    holder = {"pid": os.getpid(), "job": job_dir.name, "since": now()}
    with os.fdopen(open_own(job_dir.parent.parent / "agent.lock"), "a") as lock:
        lock.truncate(0)
        lock.write(json.dumps(holder))
    replace(job_dir / "pid", lambda new: new.write_text(str(os.getpid())))
    outcome: dict[str, Any] = {"rc": 0}
    try:
        measure_all(job_dir)
    except Exception as error:
        log(f"failed: {type(error).__name__}: {error}")
        outcome = {"rc": 1, "error": str(error) or type(error).__name__}
    replace(job_dir / "rc", lambda new: new.write_text(json.dumps(outcome)))
    return outcome


def measure_all(job_dir: Path) -> None:
    """Time every model that has fewer results than its target count, round by round, each round in
    an order drawn by the job's seed.
    """
    job = json.loads((job_dir / "job.json").read_text())
    provide_weights(job_dir, job["weights_bytes"])
    missing = Counter(job["target_counts"]) - count_results(job_dir / "results.jsonl")
    todo = rounds(missing, random.Random(job["seed"]))
    if REFERENCE in job["models"]:
        every = job["reference_every"]
        stretches = [todo[start : start + every] for start in range(0, len(todo), every)]
        todo = [REFERENCE, *(key for stretch in stretches for key in (*stretch, REFERENCE))]
    failed = set()
    works = False
    for key in todo:
        if key in failed:
            continue
        log(f"measuring {key}")
        words = ["benchmark", "measure", str(job_dir), key]
        measurement = in_child(words, job["candidate_timeout_s"])
        if not works and "error" in measurement:
            # the model's fault, or the runtime's, with which each would fail
            log(f"checking {job['provider']}")
            checked = check(job["provider"])
            if "provider_error" in checked:
                raise RuntimeError(checked["provider_error"])
        works = True
        with (job_dir / "results.jsonl").open("a") as file:
            result = {
                "key": key,
                "measured_at": now(),
                "uptime_s": time.clock_gettime(UPTIME),
                "boot_id": read_text("/proc/sys/kernel/random/boot_id"),
                "measurement": measurement,
            }
            file.write(json.dumps(result) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if "error" in measurement and key != REFERENCE:
            failed.add(key)


def rounds(missing: Counter[str], rng: random.Random) -> list[str]:
    """Keys, each as often as it is missing: as many shuffled rounds as that takes, so that results
    of one key lie far apart in time.
    """
    order: list[str] = []
    for number in range(max(missing.values(), default=0)):
        keys = sorted(key for key in missing if missing[key] > number)
        rng.shuffle(keys)
        order += keys
    return order


def in_child(arguments: list[str], timeout_s: float) -> dict[str, Any]:
    """Run a script beside this one in a fresh process; what it prints, or {"error": why it printed
    nothing}.
    """
    command = [sys.executable, str(ARCHIVE), *arguments]
    environment = {**os.environ, PARENT: str(os.getpid())}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {timeout_s:g} s"}
    if done.returncode < 0:
        hint = "; out of memory?" if -done.returncode == signal.SIGKILL else ""
        return {"error": f"killed by signal {signal.Signals(-done.returncode).name}{hint}"}
    output = done.stderr if done.returncode else done.stdout
    lines = output.decode(errors="replace").strip().splitlines()
    if not lines:
        return {"error": f"exit status {done.returncode}, and nothing printed"}
    if done.returncode:
        return {"error": lines[-1][:500]}
    try:
        found = dict(json.loads(lines[-1]))
    except (TypeError, ValueError):  # which a library printed at the end
        return {"error": f"no result: {lines[-1][:500]}"}
    # a library that a provider lacks is named there alone
    lacking = re.search(r"Failed to load library .*", done.stderr.decode(errors="replace"))
    if "provider_error" in found and lacking:
        found["provider_error"] += f": {lacking[0][:500]}"
    return found


def count_results(results: Path) -> Counter[str]:
    """How many results each key has; a torn last line, left by a kill, is cut off."""
    if not results.exists():
        return Counter()
    content = results.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(results, len(whole))
    return Counter(json.loads(line)["key"] for line in whole.splitlines())


def provide_weights(job_dir: Path, num_bytes: int) -> None:
    """Put weights.bin beside the candidates: uniform float32 in +-0.05, made once for a device and
    size, then linked.
    """
    if num_bytes == 0:
        return
    shared = job_dir.parent.parent / "weights" / f"uniform-{num_bytes}.bin"
    if not shared.exists():
        shared.parent.mkdir(exist_ok=True)
        make_weights(shared, num_bytes)
    link_or_copy(shared, job_dir / "candidates" / "weights.bin")


def make_weights(path: Path, num_bytes: int) -> None:
    """Write the seeded weights in blocks; the file appears only when it is whole."""
    import numpy as np

    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < num_bytes + SPARE_DISK_BYTES:
        need_mib = (num_bytes + SPARE_DISK_BYTES) / 2**20
        raise RuntimeError(
            f"disk full: {path} needs {need_mib:,.1f} MiB, {free_bytes / 2**20:,.1f} MiB free"
        )
    rng = np.random.default_rng(0)
    with part.open("wb") as file:
        for begin in range(0, num_bytes, WEIGHTS_BLOCK_BYTES):
            uniform = rng.random(WEIGHTS_BLOCK_BYTES // 4, dtype=np.float32)
            block = (uniform - np.float32(0.5)) * np.float32(0.1)
            file.write(block.tobytes()[: num_bytes - begin])
            file.flush()
            os.fsync(file.fileno())
            log(f"weights: {file.tell()} of {num_bytes} bytes")
    part.replace(path)


# -- the device ------------------------------------------------------------------------------------


def probe(work_dir: Path, provider: str, *requirements: str) -> dict[str, Any]:
    """Fields of a DeviceState; what the device does not report is left out."""
    from .describe import describe  # which no other command waits for

    return {**describe(work_dir, provider, *requirements), **check(provider)}


def check(provider: str) -> dict[str, Any]:
    """Try the runtime, in a child: `providers`, those that it has, and `provider_error`, why it
    does not work.
    """
    checked = in_child(["benchmark", "check", provider], CHECK_TIMEOUT_S)
    if "error" in checked:
        return {"provider_error": checked["error"]}
    return checked


def now() -> str:
    """Return the UTC time in ISO 8601, for people and as a name; waits use a monotonic clock."""
    utc = datetime.timezone.utc  # noqa: UP017  # Python 3.9
    return datetime.datetime.now(utc).isoformat(timespec="milliseconds")


def log(message: str) -> None:
    """Print one line with the time; the host takes new output as a sign that the agent works."""
    print(now(), message, flush=True)
