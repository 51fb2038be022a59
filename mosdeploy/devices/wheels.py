"""Download the wheels that a device without internet needs."""

import contextlib
import email
import subprocess
import sys
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

DOWNLOAD_TIMEOUT_S = 1800.0
_PIP = ("-P", "-m", "pip", "download")  # -P: no pip.py of the folder where the user is
_OPTIONS = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")


@dataclass(frozen=True)
class WheelTarget:
    """The Python that wheels are for."""

    python: str
    platforms: tuple[str, ...]
    markers: dict[str, str]


@dataclass(frozen=True)
class _Wheel:
    version: Version
    requires: tuple[str, ...]


def linux_markers(python_version: str, machine: str) -> dict[str, str]:
    """What the markers of requirements mean to a CPython on Linux."""
    return {
        "implementation_name": "cpython",
        "implementation_version": python_version,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": python_version,
        "python_version": ".".join(python_version.split(".")[:2]),
        "sys_platform": "linux",
    }


def download_wheels(folder: Path, requirements: Sequence[str], target: WheelTarget) -> str | None:
    """Put the wheels of requirements, and of all that these need on the target, into a folder;
    None, or the end of pip's output if it failed.
    """
    wanted = list(requirements)
    while wanted:
        before = len(list(folder.iterdir()))
        error = _download(folder, wanted, target)
        # what only the Python that runs here needs may be what there is no wheel of
        if error and (error := _download(folder, wanted, target, "--no-deps")):
            return error
        if len(list(folder.iterdir())) == before:
            return None  # pip sees it as fulfilled: that of the device has to know
        wanted = missing_requirements(folder, requirements, target.markers)
    return None


def missing_requirements(
    folder: Path, requirements: Sequence[str], markers: dict[str, str]
) -> list[str]:
    """What requirements need where the markers hold, and no wheel of a folder fulfils."""
    wheels = _wheels(folder)
    limits: dict[str, SpecifierSet] = {}
    extras: dict[str, set[str]] = {}
    lacking: dict[str, str] = {}
    seen = set[tuple[_Wheel, frozenset[str]]]()
    queue = deque(_applying(requirements, markers, ()))
    while queue:
        requirement = queue.popleft()
        name = canonicalize_name(requirement.name)
        limits[name] = limits.get(name, SpecifierSet()) & requirement.specifier
        extras.setdefault(name, set()).update(requirement.extras)
        lacking[name] = f"{name}{limits[name]}"
        for wheel in wheels.get(name, ()):
            if limits[name].contains(wheel.version, prereleases=True):
                del lacking[name]
                step = (wheel, frozenset(extras[name]))
                if step not in seen:
                    seen.add(step)
                    queue += _applying(wheel.requires, markers, extras[name])
                break
    return sorted(lacking.values())


def _download(
    folder: Path, requirements: Sequence[str], target: WheelTarget, *more: str
) -> str | None:
    """Run our pip; None, or the end of its output if it failed."""
    platforms = (word for tag in target.platforms for word in ("--platform", tag))
    options = ("--dest", str(folder), "--python-version", target.python, *platforms)
    try:
        done = subprocess.run(
            [sys.executable, *_PIP, *_OPTIONS, *options, *more, *requirements],
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


def _wheels(folder: Path) -> dict[str, list[_Wheel]]:
    """The wheels of a folder by the name of their package, newest first."""
    found: dict[str, list[_Wheel]] = {}
    for path in sorted(folder.glob("*.whl")):
        with contextlib.suppress(ValueError):  # a name as only pip takes it
            name, version, *_ = parse_wheel_filename(path.name)
            found.setdefault(name, []).append(_Wheel(version, _requires(path)))
    return {
        name: sorted(wheels, key=lambda wheel: wheel.version, reverse=True)
        for name, wheels in found.items()
    }


def _requires(path: Path) -> tuple[str, ...]:
    """What a wheel says that it depends on."""
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        texts = [wheel.read(name) for name in names if name.count("/") == 1]
    found = (email.message_from_bytes(text).get_all("Requires-Dist", []) for text in texts)
    return tuple(str(line) for lines in found for line in lines)


def _applying(
    texts: Iterable[str], markers: dict[str, str], extras: Iterable[str]
) -> Iterator[Requirement]:
    """Those requirements that hold for a target, when the extras are asked for."""
    for text in texts:
        with contextlib.suppress(ValueError):  # what is no requirement is left to pip
            found = Requirement(text)
            settings = ({**markers, "extra": extra} for extra in ("", *extras))
            if found.marker is None or any(map(found.marker.evaluate, settings)):
                yield found
