"""Make a virtual environment with the runtime on a device."""

import contextlib
import posixpath
import secrets
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ..config.device import DeviceProfile
from ..errors import CommandError, DeviceError
from ..records import DeviceState
from .busy import refuse_if_busy
from .interpreter import FROM_ROOT, profile_python, python_in_shell, python_path, work_dir
from .on_device.describe import requirement_name
from .probe import check, probe, runtime_fix
from .session import Session, check_run, last_lines, no_space
from .task import ignore
from .wheels import WheelTarget, download_wheels, linux_markers

INSTALL_TIMEOUT_S = 1800.0
VENV_TIMEOUT_S = 300.0
NEEDED_BYTES = 50_000_000
"""What an environment takes at least; with the runtime it takes 170 MiB."""
RUNTIME = "onnxruntime"
"""How the names of its packages begin."""
REQUIREMENTS_NAME = "requirements.txt"
"""In an environment: what it was made with."""
_SWITCH = """
import contextlib, fcntl, glob, os, shutil, sys, time
folder, new = sys.argv[1:]
os.chdir(folder)
lock = os.fdopen(os.open("agent.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
for left in range(30, -1, -1):  # who only looks holds it for a moment
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        left or sys.exit("a measurement has begun meanwhile; run the same command when it is over")
        time.sleep(0.1)
if not os.path.exists(f"{new}/bin/python"):
    sys.exit("another setup has ended meanwhile and removed it; run the same command again")
if os.path.lexists(".venv.new"):
    os.unlink(".venv.new")
os.symlink(new, ".venv.new")
if os.path.exists("venv") and not os.path.islink("venv"):  # of an earlier mosdeploy
    os.rename("venv", f"{new}-before")
os.replace(".venv.new", "venv")
lock.close()
for name in set(glob.glob("venv-*")) - {new}:
    with contextlib.suppress(OSError):
        os.rename(name, f"{name}-gone")  # at once, for a setup that is still at it to see
    shutil.rmtree(f"{name}-gone", ignore_errors=True)
"""
"""Points `venv` to an environment that is whole, and removes all others; not under an agent."""

_NO_VENV = ("ensurepip is not available", "No module named ensurepip", "No module named venv")


def setup(session: Session, profile: DeviceProfile, notify: Callable[[str], None] = ignore) -> str:
    """Make sure that a device has a Python with the profile's requirements, and return its path."""
    refuse_if_busy(session, profile)
    state = probe(session, profile)
    problems = [problem for problem in check(state, profile) if problem.blocking]
    if state.python_version is None:
        raise CommandError(f"{profile.board}: {problems[0].what}; {problems[0].fix}")
    folder = work_dir(session, profile)
    if not problems:
        return python_path(session, profile)
    if state.disk_free_bytes is not None and state.disk_free_bytes < NEEDED_BYTES:
        raise no_space(profile.board, folder, state.disk_free_bytes, NEEDED_BYTES)
    name = f"venv-{secrets.token_hex(4)}"  # an attempt that was cut off may still be at its own
    venv = f"{folder}/{name}"
    made = _Environment(session, profile, state, venv, notify)
    is_failed = state.providers and [x.what for x in problems] == [state.provider_error]
    if is_failed and set(profile.requirements) <= set(made.before()):
        # the same packages anew would be gigabytes, and the provider would fail as it does now
        raise CommandError(f"{profile.board}: {problems[0].what}; {problems[0].fix}")
    try:
        notify(f"{profile.board}: making {venv}")
        _make_venv(session, profile, venv)
        made.fill()
        made.check_runtime()
        # that took minutes, and whoever measures would go on with another runtime
        refuse_if_busy(session, profile)
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(DeviceError):
            session.run(f"rm -rf {shlex.quote(venv)}")
        raise
    python = python_in_shell(profile_python(profile))
    switch = f'PY={python}; {FROM_ROOT} "$PY" -c {shlex.join((_SWITCH, folder, name))}'
    check_run(session, switch, f"switching to {venv}", VENV_TIMEOUT_S)
    return python_path(session, profile)


@dataclass(frozen=True)
class _Environment:
    """An environment that is being made."""

    session: Session
    profile: DeviceProfile
    state: DeviceState
    venv: str
    notify: Callable[[str], None]

    @property
    def folder(self) -> str:
        """Where it lies."""
        return posixpath.dirname(self.venv)

    def fill(self) -> None:
        """Install what the profile requires, and what the environment that stands there was made
        with, as far as both go together.
        """
        wanted = self.profile.requirements
        earlier = self._earlier_requirements()
        try:
            self._install((*wanted, *earlier))
        except CommandError as error:
            if not earlier:
                raise
            self.notify(
                f"{error}; installing without what other run folders asked for there: "
                f"{', '.join(earlier)}"
            )
            self._install(wanted)
        else:
            wanted = (*wanted, *earlier)
        # nothing is made where another setup has removed the environment
        lines = f"printf '%s\\n' {shlex.join(wanted)} > {REQUIREMENTS_NAME}"
        self.session.run(f"cd {shlex.quote(self.venv)} && {lines}")

    def before(self) -> list[str]:
        """What the environment that stands there was made with."""
        path = f"{self.folder}/venv/{REQUIREMENTS_NAME}"
        try:
            return self.session.read(path).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _earlier_requirements(self) -> list[str]:
        """The same, without what the profile says of its own."""
        names = set(map(requirement_name, self.profile.requirements))
        has_runtime = any(name.startswith(RUNTIME) for name in names)
        found = []
        for line in self.before():
            # a device is not trusted: no option of pip, no address
            with contextlib.suppress(InvalidRequirement):
                name = requirement_name(line)
                # builds of the runtime for other providers share a folder
                is_other = not (has_runtime and name.startswith(RUNTIME))
                if Requirement(line).url is None and name not in names and is_other:
                    found.append(line)
        return found

    def _install(self, requirements: tuple[str, ...]) -> None:
        """From the internet, or from wheels that are sent."""
        name = self.profile.board
        self.notify(f"{name}: installing {', '.join(requirements)}")
        error = _pip_install(self.session, self.venv, "--retries 1 --timeout 10", requirements)
        if error and "No space left" in error:
            raise no_space(name, self.folder, self.state.disk_free_bytes, NEEDED_BYTES)
        if error:
            self.notify(f"{name}: cannot install from the internet there ({error}); sending wheels")
            profile = self.profile.model_copy(update={"requirements": requirements})
            _send_wheels(self.session, profile, self.folder, self.state)
            options = f"--no-index --find-links {shlex.quote(self.folder)}/wheels"
            error = _pip_install(self.session, self.venv, options, requirements)
        if error:
            raise CommandError(f"{name}: pip failed on the device: {error}")

    def check_runtime(self) -> None:
        """Make sure that its runtime can be imported, if it has one."""
        if not any(name.startswith(RUNTIME) for name in self.profile.requirements):
            return
        python = f"{shlex.quote(self.venv)}/bin/python"
        # one that another setup has removed is told in a moment
        command = f"cd / && if [ -x {python} ]; then {python} -c 'import {RUNTIME}'; fi"
        result = self.session.run(command, VENV_TIMEOUT_S)
        if result.returncode != 0:
            error = last_lines(result)
            raise CommandError(
                f"{self.profile.board}: the runtime cannot be imported there: {error}; "
                f"{runtime_fix(error)}"
            )


def _make_venv(session: Session, profile: DeviceProfile, venv: str) -> None:
    python = python_in_shell(profile_python(profile))
    command = f'PY={python}; {FROM_ROOT} "$PY" -m venv {shlex.quote(venv)}'
    result = session.run(command, VENV_TIMEOUT_S)
    if result.returncode == 0:
        return
    output = f"{result.stdout} {result.stderr}"
    if any(words in output for words in _NO_VENV):
        raise CommandError(
            f"{profile.board}: Python cannot make virtual environments; run there: "
            "sudo apt-get install python3-venv"
        )
    raise CommandError(f"{profile.board}: could not make {venv}: {last_lines(result)}")


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


def _send_wheels(session: Session, profile: DeviceProfile, folder: str, state: DeviceState) -> None:
    """Download wheels for the device here, and put them into its work folder."""
    device_python = state.python_version or ""
    version = profile.wheel_python or ".".join(device_python.split(".")[:2])
    markers = linux_markers(device_python or version, state.machine or "")
    target = WheelTarget(version, _platforms(profile, state), markers)
    with tempfile.TemporaryDirectory() as name:
        error = download_wheels(Path(name), profile.requirements, target)
        if error:
            raise CommandError(
                f"{profile.board}: no wheels for Python {version} on "
                f"{', '.join(target.platforms)}: {error}; set wheel_platform, wheel_python or "
                "requirements in the profile, or give the device internet access"
            )
        wheels = sorted(Path(name).iterdir())
        # those of another time; what arrived of these is kept
        kept = "|".join(f"*{shlex.quote(wheel.name)}*" for wheel in wheels)
        files = f"{shlex.quote(folder)}/wheels/*"
        command = f'for x in {files}; do case "$x" in {kept}) ;; *) rm -f "$x" ;; esac; done'
        check_run(session, command, "removing old wheels")
        for wheel in wheels:
            session.put(wheel, f"{folder}/wheels/{wheel.name}")


def _platforms(profile: DeviceProfile, state: DeviceState) -> tuple[str, ...]:
    """Wheel platform tags that the device takes, newest first."""
    if profile.wheel_platform:
        newest = profile.wheel_platform
        arch = newest.removeprefix("manylinux_2_28_")
        return (newest,) if arch == newest else _manylinux(arch)
    return _manylinux(state.machine or "unknown")


def _manylinux(arch: str) -> tuple[str, ...]:
    return tuple(
        f"{tag}_{arch}"
        for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    )
