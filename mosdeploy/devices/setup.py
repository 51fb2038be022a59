"""Make a virtual environment on a device, from the internet or from wheels, and clean up there."""

import contextlib
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ..config.device import DeviceProfile
from ..errors import CommandError, DeviceError
from ..records import DeviceState, Leftover
from .deploy import HASHING_TIMEOUT_S
from .device import FROM_ROOT, Answer, Device
from .job import refuse_if_busy
from .measure import ignore
from .on_device.describe import requirement_name
from .probe import check, probe, runtime_fix
from .session import Session, check_run, last_lines, no_space

DOWNLOAD_TIMEOUT_S = 1800.0
INSTALL_TIMEOUT_S = 1800.0
VENV_TIMEOUT_S = 300.0
NEEDED_BYTES = 50_000_000
"""The least that an environment takes; with the runtime it takes 170 MiB."""
RUNTIME = "onnxruntime"
"""The begin of the names of its packages."""
REQUIREMENTS_NAME = "requirements.txt"
"""In an environment: what it was made with."""

_NO_VENV = ("ensurepip is not available", "No module named ensurepip", "No module named venv")


def setup(device: Device, notify: Callable[[str], None] = ignore) -> str:
    """Make sure that a device has a Python with the profile's requirements, and return its path."""
    refuse_if_busy(device)
    state = probe(device)
    problems = [problem for problem in check(state, device.profile) if problem.blocking]
    if state.python_version is None:
        raise CommandError(f"{device.board}: {problems[0].what}; {problems[0].fix}")
    folder = device.work_dir()
    if not problems:
        return device.python_path()
    if state.disk_free_bytes is not None and state.disk_free_bytes < NEEDED_BYTES:
        raise no_space(device.board, folder, state.disk_free_bytes, NEEDED_BYTES)
    name = f"venv-{secrets.token_hex(4)}"  # an attempt that was cut off may still be at its own
    venv = f"{folder}/{name}"
    try:
        notify(f"{device.board}: making {venv}")
        _make_venv(device, venv)
        earlier = _earlier_requirements(device, f"{folder}/venv")
        requirements = (*device.profile.requirements, *earlier)
        profile = device.profile.model_copy(update={"requirements": requirements})
        _install(Device(device.session, profile), state, venv, notify)
        _check_runtime(device, venv)
        # nothing is made where another setup has removed the environment
        lines = f"printf '%s\\n' {shlex.join(requirements)} > {REQUIREMENTS_NAME}"
        device.session.run(f"cd {shlex.quote(venv)} && {lines}")
        # that took minutes, and whoever measures would go on with another runtime
        refuse_if_busy(device)
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(DeviceError):
            device.session.run(f"rm -rf {shlex.quote(venv)}")
        raise
    device.call(Answer, "slots", "use_environment", folder, name, timeout_s=VENV_TIMEOUT_S)
    return device.python_path()


def _make_venv(device: Device, venv: str) -> None:
    command = f'PY={device.profile_python}; {FROM_ROOT} "$PY" -m venv {shlex.quote(venv)}'
    result = device.session.run(command, VENV_TIMEOUT_S)
    if result.returncode == 0:
        return
    output = f"{result.stdout} {result.stderr}"
    if any(words in output for words in _NO_VENV):
        raise CommandError(
            f"{device.board}: Python cannot make virtual environments; run there: "
            "sudo apt-get install python3-venv"
        )
    raise CommandError(f"{device.board}: could not make {venv}: {last_lines(result)}")


def _earlier_requirements(device: Device, venv: str) -> list[str]:
    """What other run folders asked for in the environment that stands there."""
    try:
        text = device.session.read(f"{venv}/{REQUIREMENTS_NAME}").decode(errors="replace")
    except FileNotFoundError:
        return []
    names = set(map(requirement_name, device.profile.requirements))
    has_runtime = any(name.startswith(RUNTIME) for name in names)
    found = []
    for line in text.splitlines():
        # a device is not trusted: no option of pip, no address
        with contextlib.suppress(InvalidRequirement):
            name = requirement_name(line)
            # builds of the runtime for other providers share a folder
            is_other_build = has_runtime and name.startswith(RUNTIME)
            if Requirement(line).url is None and name not in names and not is_other_build:
                found.append(line)
    return found


def _install(device: Device, state: DeviceState, venv: str, notify: Callable[[str], None]) -> None:
    """Install the profile's requirements from the internet, or from wheels that are sent."""
    board = device.board
    folder = device.work_dir()
    requirements = device.profile.requirements
    notify(f"{board}: installing {', '.join(requirements)}")
    error = _pip_install(device.session, venv, "--retries 1 --timeout 10", requirements)
    if error and "No space left" in error:
        raise no_space(board, folder, state.disk_free_bytes, NEEDED_BYTES)
    if error:
        notify(f"{board}: cannot install from the internet there ({error}); sending wheels")
        _send_wheels(device, folder, state)
        options = f"--no-index --find-links {shlex.quote(folder)}/wheels"
        error = _pip_install(device.session, venv, options, requirements)
    if error:
        raise CommandError(
            f"{board}: pip failed on the device: {error}; what run folders ask for there "
            f"({', '.join(requirements)}) must go together: else set another work_dir in the "
            "profile of one"
        )


def _check_runtime(device: Device, venv: str) -> None:
    """Make sure that the runtime of an environment can be imported, if it has one."""
    if not any(name.startswith(RUNTIME) for name in device.profile.requirements):
        return
    python = f"{shlex.quote(venv)}/bin/python"
    # the switch tells of an environment that another setup has removed
    command = f"cd / && if [ -x {python} ]; then {python} -c 'import {RUNTIME}'; fi"
    result = device.session.run(command, VENV_TIMEOUT_S)
    if result.returncode != 0:
        error = last_lines(result)
        raise CommandError(
            f"{device.board}: the runtime cannot be imported there: {error}; {runtime_fix(error)}"
        )


def _pip_install(
    session: Session, venv: str, options: str, requirements: tuple[str, ...]
) -> str | None:
    """Run the environment's pip; None, or the end of its output if it failed."""
    pip = f"cd / && {shlex.quote(venv)}/bin/python -m pip install"
    # half of an installation would go into compiling every file; Python compiles what it imports
    always = "--quiet --disable-pip-version-check --only-binary :all: --no-compile"
    command = f"{pip} {always} {options} {shlex.join(requirements)}"
    result = session.run(command, INSTALL_TIMEOUT_S)
    return None if result.returncode == 0 else last_lines(result, 1)


# -- wheels ----------------------------------------------------------------------------------------


def _send_wheels(device: Device, folder: str, state: DeviceState) -> None:
    """Download wheels for the device here, and put them into its work folder."""
    python = device.profile.wheel_python or ".".join((state.python_version or "").split(".")[:2])
    platforms = _platforms(device.profile, state)
    with tempfile.TemporaryDirectory() as name:
        options = ["--dest", name, "--python-version", python]
        for platform in platforms:
            options += ["--platform", platform]
        if error := _pip_download([*options, *device.profile.requirements]):
            raise CommandError(
                f"{device.board}: no wheels for Python {python} on {', '.join(platforms)}: {error};"
                " set wheel_platform, wheel_python or requirements in the profile, or give the "
                "device internet access"
            )
        wheels = sorted(Path(name).iterdir())
        # old ones go; those that an upload which was cut off has sent are kept
        kept = "|".join(f"*{shlex.quote(wheel.name)}*" for wheel in wheels)
        files = f"{shlex.quote(folder)}/wheels/*"
        command = f'for x in {files}; do case "$x" in {kept}) ;; *) rm -f "$x" ;; esac; done'
        check_run(device.session, command, "removing old wheels")
        for wheel in wheels:
            device.session.put(wheel, f"{folder}/wheels/{wheel.name}")


def _platforms(profile: DeviceProfile, state: DeviceState) -> tuple[str, ...]:
    """Wheel platform tags that the device takes, newest first."""
    newest = profile.wheel_platform or f"manylinux_2_28_{state.machine or 'unknown'}"
    arch = newest.removeprefix("manylinux_2_28_")
    if arch == newest:
        return (newest,)
    tags = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    return tuple(f"{tag}_{arch}" for tag in tags)


def _pip_download(words: list[str]) -> str | None:
    """Run our pip; None, or the end of its output if it failed."""
    # -P: no pip.py of the folder where the user is
    pip = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*pip, "--only-binary", ":all:", *words],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"pip was not done after {DOWNLOAD_TIMEOUT_S / 60:.0f} minutes"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["pip printed nothing"])[-1]


# -- what nothing needs any more -------------------------------------------------------------------


class _Leftovers(Answer):
    leftovers: tuple[Leftover, ...] = ()


def clean(
    device: Device, *, remove: bool = False, with_earlier: bool = False
) -> tuple[Leftover, ...]:
    """List what can be removed from a device; with `remove`, remove it and list what is gone."""
    refuse_if_busy(device)
    command = "remove" if remove else "leftovers"
    words = (command, device.work_dir(), "yes" if with_earlier else "no")
    return device.call(_Leftovers, "slots", *words, timeout_s=HASHING_TIMEOUT_S).leftovers
