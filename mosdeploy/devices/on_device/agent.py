"""Runs on a device: describes it, and times models one after the other.

In: a job folder with job.json and models. Out: results.jsonl in it, one line a timing, forced to
disk; rc when the job is over. Needs Python 3.9, and benchmark.py beside it; imports nothing of
mosdeploy, since the two are copied alone. Whether a timing counts or is repeated is decided on the
host.

    agent.py probe WORK_DIR PROVIDER REQUIREMENT...    describe the device, as one JSON object
    agent.py run JOB_DIR                               measure in the background; prints the pid

One agent at a time measures on a device: it holds a lock on WORK_DIR/agent.lock, which the kernel
releases when the process ends. Each model is timed in a child process, so that a crash, a lack of
memory or a time-out becomes the result of that model.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

CHECK_TIMEOUT_S = 120.0
WEIGHTS_BLOCK_BYTES = 16 << 20
SPARE_DISK_BYTES = 8 << 20  # left free for results and logs when weights are made
REFERENCE = "reference"
"""The key of the model that is timed again and again, to show how the device's speed changes."""

CPU_FEATURES = (
    "avx avx2 fma avx512f avx512_vnni avx_vnni amx_int8 amx_bf16 "
    "asimd asimdhp asimddp i8mm bf16 sve sve2"
)
GPU_FIELDS = "name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw"


def main(command: str, *arguments: str) -> None:
    """Run one command; print what it finds as one line of JSON."""
    commands: dict[str, Callable[..., dict[str, Any]]] = {"probe": probe, "run": run}
    print(json.dumps(commands[command](*arguments)), flush=True)


# -- the job ---------------------------------------------------------------------------------------


def run(job_dir_text: str) -> dict[str, Any]:
    """Start a job, or join it if it runs already: {"pid"}, that of the agent; {"busy"}, what holds
    the device; or {"error"}.
    """
    if sys.version_info < (3, 9):  # noqa: UP036  # the device's Python
        version = platform.python_version()
        return {"error": f"Python 3.9 or later is needed, {sys.executable} is {version}"}
    job_dir = Path(job_dir_text)
    lock = take_lock(job_dir)
    if lock is None:
        holder = json.loads(read_text(job_dir.parent.parent / "agent.lock") or "{}")
        return {"pid": holder["pid"]} if holder.get("job") == job_dir.name else {"busy": holder}
    (job_dir / "rc").unlink(missing_ok=True)
    output = os.open(job_dir / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pid = os.fork()
    if pid:
        lock.truncate(0)
        lock.write(json.dumps({"pid": pid, "job": job_dir.name, "since": now()}))
        lock.flush()
        write_whole(job_dir / "pid", str(pid))
        return {"pid": pid}
    os.setsid()
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    work(job_dir)
    os._exit(0)


def work(job_dir: Path) -> None:
    """Measure, then write into rc how it ended."""
    outcome: dict[str, Any] = {"rc": 0}
    try:
        measure_all(job_dir)
    except Exception as error:
        log(f"failed: {type(error).__name__}: {error}")
        outcome = {"rc": 1, "error": str(error) or type(error).__name__}
    write_whole(job_dir / "rc", json.dumps(outcome))


def measure_all(job_dir: Path) -> None:
    """Time every model that has fewer results than its target count, round by round, each round in
    an order drawn by the job's seed.

    The reference is timed first, after every `reference_every` models, and last. A model that fails
    is not tried again.
    """
    job = json.loads((job_dir / "job.json").read_text())
    log(f"checking {job['provider']}")
    checked = in_child(["check", job["provider"]], CHECK_TIMEOUT_S)
    if "error" in checked or "provider_error" in checked:
        raise RuntimeError(checked.get("error") or checked["provider_error"])
    provide_weights(job_dir, job["weights_bytes"])
    missing = Counter(job["target_counts"]) - count_results(job_dir / "results.jsonl")
    todo = rounds(missing, random.Random(job["seed"]))
    if REFERENCE in job["models"]:
        every = job["reference_every"]
        stretches = [todo[start : start + every] for start in range(0, len(todo), every)]
        todo = [REFERENCE, *(key for stretch in stretches for key in (*stretch, REFERENCE))]
    failed = set()
    for key in todo:
        if key in failed:
            continue
        log(f"measuring {key}")
        measurement = in_child(["measure", str(job_dir), key], job["candidate_timeout_s"])
        with (job_dir / "results.jsonl").open("a") as file:
            result = {"key": key, "measured_at": now(), "measurement": measurement}
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
    """Run benchmark.py in a fresh process; what it prints, or {"error": why it printed nothing}."""
    script = str(Path(__file__).resolve().with_name("benchmark.py"))
    command = [sys.executable, script, *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
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
    return dict(json.loads(lines[-1]))


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
    link = job_dir / "candidates" / "weights.bin"
    link.unlink(missing_ok=True)
    try:
        os.link(shared, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(shared, link)


def make_weights(path: Path, num_bytes: int) -> None:
    """Write the seeded weights in blocks; the file appears only when it is whole."""
    import numpy as np

    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < num_bytes + SPARE_DISK_BYTES:
        need_mb = (num_bytes + SPARE_DISK_BYTES) / 1e6
        raise RuntimeError(
            f"disk full: {path} needs {need_mb:.1f} MB, {free_bytes / 1e6:.1f} MB free"
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


def probe(work_dir: str, provider: str, *requirements: str) -> dict[str, Any]:
    """Fields of a DeviceState; what the device does not report is left out.

    `requirements` are those of the device's profile; `packages` holds the versions of those that
    are installed for this Python.
    """
    on_gpu = provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider")
    gpu = ("nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader")
    state: dict[str, Any] = {
        **describe_cpu(),
        **describe_memory(),
        "disk_free_bytes": shutil.disk_usage(work_dir).free,
        "temperature_c": temperature_c(),
        "throttled": first_line("vcgencmd", "get_throttled").rpartition("=")[2],
        "load_1min": os.getloadavg()[0],
        "gpu": first_line(*gpu) if on_gpu else None,
        "python_version": platform.python_version(),
        "packages": installed_versions(requirements),
    }
    checked = in_child(["check", provider], CHECK_TIMEOUT_S)
    state["provider_error"] = checked.pop("error", None)
    state.update(checked)
    return {key: value for key, value in state.items() if value not in (None, "", [])}


def describe_cpu() -> dict[str, Any]:
    """Fields of a DeviceState that tell of the processor."""
    lines = read_text("/proc/cpuinfo").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    features = set((cpu.get("flags") or cpu.get("Features") or "").split())
    frequencies_khz = [
        read_text(f"/sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq")
        for i in range(os.cpu_count() or 1)
    ]
    first_mhz = float(frequencies_khz[0] or 0) / 1e3 or float(cpu.get("cpu MHz", 0))
    return {
        "machine": platform.machine(),
        "cpu_model": read_text("/proc/device-tree/model").strip("\0") or cpu.get("model name"),
        "cpu_features": [name for name in CPU_FEATURES.split() if name in features],
        "cores": os.cpu_count(),
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": first_mhz or None,
        "frequencies_mhz": [float(text) / 1e3 for text in frequencies_khz if text],
    }


def describe_memory() -> dict[str, int | None]:
    """Fields of a DeviceState that tell of the memory."""
    lines = read_text("/proc/meminfo").splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    has_swap = "SwapTotal" in memory
    return {
        "memory_bytes": memory.get("MemTotal"),
        "memory_available_bytes": memory.get("MemAvailable"),
        "swap_used_bytes": memory["SwapTotal"] - memory["SwapFree"] if has_swap else None,
    }


def temperature_c() -> float | None:
    """The hottest of the device's thermal zones."""
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    texts = [read_text(zone) for zone in zones]
    return max((int(text) / 1e3 for text in texts if text.lstrip("-").isdigit()), default=None)


def installed_versions(requirements: Iterable[str]) -> dict[str, str]:
    """Version of each required package that is installed, by its name on PyPI; none is imported."""
    versions = {}
    for name in map(requirement_name, requirements):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def requirement_name(requirement: str) -> str:
    """Name of the package in a requirement: `onnxruntime-gpu` in `onnxruntime-gpu[cuda]>=1.20`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]


def first_line(*command: str) -> str:
    """The first line that a program prints; empty on devices that do not have it."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.partition("\n")[0].strip()
    return ""


def take_lock(job_dir: Path) -> IO[str] | None:
    """Lock the device for as long as the file is open here or in a fork; None when another agent
    holds the lock.
    """
    file = (job_dir.parent.parent / "agent.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def write_whole(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def read_text(path: str | Path) -> str:
    """Text of a small file; empty when it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def now() -> str:
    """Return the UTC time in ISO 8601, for people and as a name; waits use a monotonic clock."""
    utc = datetime.timezone.utc  # noqa: UP017  # Python 3.9
    return datetime.datetime.now(utc).isoformat(timespec="milliseconds")


def log(message: str) -> None:
    """Print one line with the time; the host takes new output as a sign that the agent works."""
    print(now(), message, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
