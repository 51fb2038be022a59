"""Describe a device, and find what it lacks."""

import contextlib
import math
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from ..config.device import DeviceProfile
from ..errors import CommandError
from ..printable import byte_size, printable
from ..records import DeviceState, Problem
from .device import Device, NoPythonError, Script
from .on_device.describe import requirement_name

MIN_DISK_BYTES = 2_000_000_000
NEEDED_DISK_BYTES = 16 << 20
"""Without it there is no room for a model, its results and what an agent leaves free beside."""
HOT_C = 75.0
MAX_LOAD = 0.3
PROBE_TIMEOUT_S = 300.0

BOARDS = {
    "Raspberry Pi 4": "cortex-a72",
    "Raspberry Pi 5": "cortex-a76",
    "Orin": "cortex-a78",
}
"""LLVM's name of the processor, by a part of what a board calls itself."""

EXTENSIONS = {
    "avx512_vnni": "cascadelake",
    "avx_vnni": "alderlake",
    "avx2": "x86-64-v3",
}
"""The same for x86-64, by the best extension that it has."""


def describe(device: Device) -> DeviceState:
    """Describe a device that is known to work: hardware, clock, load, Python, and the packages that
    the profile requires.
    """
    return _ask(device, "describe", "describe")


def probe(device: Device) -> DeviceState:
    """Describe a device, and try its runtime, which takes seconds on a small board."""
    try:
        return _ask(device, "agent", "probe")
    except NoPythonError:
        return DeviceState(
            machine=printable(device.session.run("uname -m").stdout.strip()[:100]) or None
        )


def _ask(device: Device, script: Script, *words: str) -> DeviceState:
    words += (device.work_dir(), device.profile.provider, *device.profile.requirements)
    state = device.call(DeviceState, script, *words, timeout_s=PROBE_TIMEOUT_S)
    # a device may name any number of others
    names = set(map(requirement_name, device.profile.requirements))
    packages = {name: version for name, version in state.packages.items() if name in names}
    return state.model_copy(update={"packages": packages})


def check(state: DeviceState, profile: DeviceProfile) -> tuple[Problem, ...]:
    """List what a device lacks (blocking) and what spoils its timing (not blocking)."""
    if state.python_version is None:
        what = f"no Python on the device: '{profile.python}' does not run"
        fix = "sudo apt-get install python3 python3-venv   # there; or set `python` in the profile"
        return (Problem(what=what, fix=fix, blocking=True),)
    disturbing = _disturbing(state, profile)
    return (
        *_missing(state, profile),
        *(Problem(what=what, fix=fix, blocking=False) for what, fix in disturbing),
    )


def check_ready(state: DeviceState, profile: DeviceProfile) -> None:
    """Refuse a device that lacks what measuring needs."""
    for problem in check(state, profile):
        if problem.blocking:
            raise CommandError(f"{profile.cli_name}: {problem.what}; {problem.fix}")


def _missing(state: DeviceState, profile: DeviceProfile) -> Iterator[Problem]:
    if profile.machine and state.machine and profile.machine != state.machine:
        what = f"the profile says machine = '{profile.machine}', the device is {state.machine}"
        fix = f"write machine = '{state.machine}' into the profile, for which TVM compiles"
        yield Problem(what=what, fix=fix, blocking=False)
    names = dict.fromkeys(map(requirement_name, profile.requirements))
    lacking = [name for name in names if name not in state.packages]
    fix = f"mosdeploy devices check {profile.cli_name} --setup"
    if unfit := _unfit(state, profile):
        what = f"of another version than needed: {', '.join(unfit)}"
        yield Problem(what=what, fix=fix, blocking=True)
    if lacking:
        what = f"not installed: {', '.join(lacking)}"
        if "onnxruntime" in lacking and state.providers:
            # builds for other providers are packages of other names, and share a folder with it
            what += f"; another build of it is there, with {', '.join(state.providers)}"
            fix = (
                "name its package (onnxruntime-gpu, onnxruntime-openvino, ...) in `requirements` "
                "of the profile, in place of onnxruntime: installed over it, that would break it"
            )
        yield Problem(what=what, fix=fix, blocking=True)
    elif state.provider_error:
        fix = runtime_fix(state.provider_error)
        yield Problem(what=state.provider_error, fix=fix, blocking=True)
    if state.disk_free_bytes is not None and state.disk_free_bytes < MIN_DISK_BYTES:
        what = f"only {byte_size(state.disk_free_bytes)} of disk free"
        fix = f"df -h; du -sh {profile.work_dir}/*   # on the device; or set another work_dir"
        is_full = state.disk_free_bytes < NEEDED_DISK_BYTES
        yield Problem(what=what, fix=fix, blocking=is_full)


def runtime_fix(error: str) -> str:
    """What to do about a runtime that cannot be imported, or not run with a provider."""
    if "failed to map segment" in error:
        return "its file system runs no programs (noexec): set `work_dir` to one that does"
    if "no kernel image" in error:
        return (
            "this build holds no kernels for the GPU: pin an older one in `requirements`, or build "
            "it for the GPU"
        )
    return (
        "install an onnxruntime built for this device, or change `provider` or `requirements` in "
        "the profile"
    )


def _unfit(state: DeviceState, profile: DeviceProfile) -> list[str]:
    """Installed packages whose version a requirement does not admit, and what it admits."""
    found = []
    for text in profile.requirements:
        # what is no requirement, or no version, is left to pip
        with contextlib.suppress(InvalidRequirement, InvalidVersion):
            required = Requirement(text)
            version = state.packages.get(requirement_name(text))
            if version and not required.specifier.contains(Version(version), prereleases=True):
                found.append(f"{required.name} {version} (needed: {required.specifier})")
    return found


def _disturbing(state: DeviceState, profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    """What disturbs timing, and what to do about it."""
    if state.governor not in (None, "performance"):
        yield (
            f"the CPU governor is '{state.governor}': the clock moves during a measurement",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
    if state.temperature_c is not None and state.temperature_c > HOT_C:
        what = f"{state.temperature_c:.0f} degrees C: it may throttle soon"
        yield what, "cool it, and let it rest"
    if state.throttled not in (None, "0x0"):
        what = f"throttled or under-voltage since boot (vcgencmd get_throttled: {state.throttled})"
        yield what, "use a stronger power supply and a heat sink, then sudo reboot"
    if state.load_1min is not None and state.load_1min > MAX_LOAD:
        what = f"other work runs there: load {state.load_1min:.2f} on {state.cores} cores"
        yield what, "top   # find what else runs there, and stop it"
    if state.cpu_quota is not None and state.cpu_quota < (state.cores or math.inf):
        yield (
            f"a container or control group leaves {state.cpu_quota:g} of {state.cores} processors: "
            "a run that needs more is halted meanwhile",
            "give `threads` of [workload] no more, or raise the limit (docker run --cpus, "
            "CPUQuota)",
        )
    if state.swap_used_bytes:
        what = f"{byte_size(state.swap_used_bytes)} lie in swap"
        yield what, "free -h; sudo swapoff -a   # if the memory suffices"
    if profile.emulated:
        yield (
            "the device is emulated: its timing means nothing",
            "nothing: measurements there stay labelled as emulated and enter no predictor of a "
            "real device",
        )


def llvm_cpu(state: DeviceState) -> str | None:
    """LLVM's name of a board's processor; None where it cannot be told."""
    if state.machine == "x86_64":
        return next((x for key, x in EXTENSIONS.items() if key in state.cpu_features), None)
    model = state.cpu_model or ""
    return next((x for key, x in BOARDS.items() if key in model), None)
