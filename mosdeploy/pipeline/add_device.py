"""The verb `devices add`: a profile for a board, from a look at it."""

from dataclasses import replace
from pathlib import Path

from ..config import load_run_config
from ..config.device import KIND, DeviceProfile, load_profile
from ..errors import ConfigError
from ..family import Setting
from ..printable import byte_size, printable
from ..record import parse
from ..records import DeviceState
from ..run_folder.context import SSH_CONFIG
from ..run_folder.devices import device_at
from ..run_folder.summaries import AddedDevice
from ..storage import atomic_write
from ..workspace import Workspace

CUDA = "CUDAExecutionProvider"
GPU_RUNTIME = "onnxruntime-gpu"

BUSY_ROUNDS = 3


def add_device(
    root: Path, name: str, host: str | None = None, ssh_config: Path = SSH_CONFIG
) -> AddedDevice:
    """Look at a board and write its profile into the run folder."""
    from ..devices.job import refuse_if_busy
    from ..devices.probe import check, probe

    path = root / KIND / f"{name}.toml"
    given = {"name": name, "host": host or name, "requirements": [*_packages(root), GPU_RUNTIME]}
    tried = parse(DeviceProfile, given, f"device '{name}'")
    if name == "local":
        raise ConfigError("the device 'local' is this machine; give the board another name")
    if path.exists():
        raise ConfigError(f"{path} exists already; edit it, or choose another name")
    with device_at(tried, ssh_config) as device:
        refuse_if_busy(device)
        state = probe(device)
        gpu_error = None
        if CUDA in state.providers:  # a build for GPUs is installed where there is none, too
            on_gpu = probe(replace(device, profile=tried.model_copy(update={"provider": CUDA})))
            gpu_error = on_gpu.provider_error
            state = state if gpu_error else on_gpu
    text = profile_text(name, host or name, state, gpu_error)
    atomic_write(path, text)
    profile = load_profile(name, root)
    needed = (*profile.requirements, *_packages(root)[2:])
    problems = check(state, profile.model_copy(update={"requirements": needed}))
    return AddedDevice(path=str(path), device=name, state=state, problems=problems)


def _packages(root: Path) -> list[str]:
    """What models need on a device: of the family of the run folder, if there is one."""
    path = Workspace(root).config_path
    family = load_run_config(path).packages if path.exists() else ()
    return ["numpy", "onnxruntime", *family]


def profile_text(name: str, host: str, state: DeviceState, gpu_error: str | None = None) -> str:
    """The TOML file of a board that was found so."""
    from ..devices.probe import MAX_LOAD, llvm_cpu

    is_for_gpus = CUDA in state.providers
    runtime = GPU_RUNTIME if is_for_gpus else "onnxruntime"
    provider = CUDA if is_for_gpus and gpu_error is None else "CPUExecutionProvider"
    found = state.packages.get(runtime)
    installed = f"{runtime} {found} is there" if found else "`devices check --setup` installs them"
    python = f"{state.python_version} there" if state.python_version else "NOT found there"
    description = state.cpu_model or state.machine or "unknown"
    if state.memory_bytes:
        description += f", {byte_size(state.memory_bytes)}"
    place = "a folder of yours there"
    if state.disk_free_bytes is not None:
        place += f"; {byte_size(state.disk_free_bytes)} are free"
    providers = (
        f"there: {', '.join(state.providers)}" if state.providers else "no runtime there yet"
    )
    if gpu_error is not None:
        providers = printable(" ".join(gpu_error.split()))[:200]
    settings = [
        Setting("name", name),
        Setting("description", description),
        Setting("kind", "ssh"),
        Setting("host", host, "alias in ~/.ssh/config: user, port, key and jump host belong there"),
        Setting("python", "python3", python),
        Setting("work_dir", "~/.cache/mosdeploy", place),
        Setting("provider", provider, providers),
        Setting("requirements", ["numpy", runtime], installed),
    ]
    if state.machine in ("x86_64", "aarch64"):
        platform = f"manylinux_2_28_{state.machine}"
        settings.append(Setting("machine", state.machine, f"{state.cores or 'unknown'} cores"))
        if (processor := llvm_cpu(state)) is not None:
            settings.append(Setting("llvm_cpu", processor, "what TVM compiles for"))
        settings.append(Setting("wheel_platform", platform, "for a board without internet"))
    is_busy = state.load_1min is not None and state.load_1min > MAX_LOAD
    load = "unknown" if state.load_1min is None else f"{state.load_1min:.2f}"
    why = f"the load was {load}; {BUSY_ROUNDS} suit a board that does other work too"
    measure = [
        Setting("rounds", BUSY_ROUNDS if is_busy else 1, why),
        Setting("candidate_timeout_s", 300.0, "after this a subnet has failed"),
    ]
    lines = [
        "# Written by `mosdeploy devices add`, after a look at the board; change what you like.",
        *(setting.line for setting in settings),
        "",
        "[measure]",
        *(setting.line for setting in measure),
    ]
    return "\n".join(lines) + "\n"
