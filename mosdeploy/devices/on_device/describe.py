"""Describes a device: processor, memory, disk, clock, load, Python, packages. Runs there."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...runtime.execution import GPU_PROVIDERS
from . import read_text

CPU_FEATURES = (
    "avx avx2 fma avx512f avx512_vnni avx_vnni amx_int8 amx_bf16 "
    "asimd asimdhp asimddp i8mm bf16 sve sve2"
)
CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
GPU_FIELDS = "name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw"


def describe(work_dir: Path, provider: str, *requirements: str) -> dict[str, Any]:
    """Fields of a DeviceState; what the device does not report is left out."""
    gpu = ("nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader")
    found = {
        **describe_cpu(),
        **describe_memory(),
        "disk_free_bytes": shutil.disk_usage(work_dir).free,
        "temperature_c": temperature_c(),
        "throttled": first_line("vcgencmd", "get_throttled").rpartition("=")[2],
        "load_1min": os.getloadavg()[0],
        "cpu_quota": cpu_quota(),
        "gpu": first_line(*gpu) if provider in GPU_PROVIDERS else None,
        "python_version": platform.python_version(),
        "packages": installed_versions(requirements),
    }
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def describe_cpu() -> dict[str, Any]:
    """Fields of a DeviceState that tell of the processor."""
    lines = read_text("/proc/cpuinfo").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    features = set((cpu.get("flags") or cpu.get("Features") or "").split())
    # of the processors that are online: numbers may be missing between
    folders = sorted(CPUS.glob("cpu[0-9]*/cpufreq"), key=lambda path: int(path.parent.name[3:]))
    frequencies_khz = [number(read_text(folder / "scaling_cur_freq")) for folder in folders]
    known_mhz = [khz / 1e3 for khz in frequencies_khz if khz]
    # each kind of processor has its own
    governors = {read_text(folder / "scaling_governor") for folder in folders} - {""}
    return {
        "machine": platform.machine(),
        "cpu_model": read_text("/proc/device-tree/model").strip("\0") or cpu.get("model name"),
        "cpu_features": [name for name in CPU_FEATURES.split() if name in features],
        "cores": os.cpu_count(),
        "governor": ", ".join(sorted(governors)),
        "frequency_mhz": known_mhz[0] if known_mhz else number(cpu.get("cpu MHz", "")),
        "frequencies_mhz": known_mhz,
    }


def describe_memory() -> dict[str, int | None]:
    """Fields of a DeviceState that tell of the memory."""
    found = re.findall(r"^(\w+):\s*(\d+) kB$", read_text("/proc/meminfo"), re.MULTILINE)
    memory = {name: int(kib) * 1024 for name, kib in found}
    has_swap = {"SwapTotal", "SwapFree"} <= memory.keys()
    return {
        "memory_bytes": memory.get("MemTotal"),
        "memory_available_bytes": memory.get("MemAvailable"),
        "swap_used_bytes": memory["SwapTotal"] - memory["SwapFree"] if has_swap else None,
    }


def cpu_quota() -> float | None:
    """How many processors' time the control groups of this process leave it, in a container say;
    None where they leave it all.
    """
    quotas = []
    for path in re.findall(r"^0::/(.*)$", read_text("/proc/self/cgroup"), re.MULTILINE):
        inner = CGROUPS / path
        # a limit of a group is one for all that are inside
        for group in (inner, *inner.parents):
            quota, _, period = read_text(group / "cpu.max").partition(" ")
            if quota.isdecimal() and period.isdecimal():
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


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


def number(text: str) -> float | None:
    """The number that a file of the system holds; None where it holds a word, as `<unknown>`."""
    with contextlib.suppress(ValueError):
        return float(text)
    return None


def first_line(*command: str) -> str:
    """The first line that a program prints; empty on devices that do not have it."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.partition("\n")[0].strip()
    return ""
