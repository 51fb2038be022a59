"""What each kept result says of its making: the command, and what computed it."""

import importlib.metadata
import platform
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mosdeploy
from mosdeploy.record import Record


class Provenance(Record):
    """The head of a kept result."""

    command: str
    versions: dict[str, str]
    processor: str


def provenance(packages: Iterable[str]) -> dict[str, Any]:
    """The same of the script that runs, with the versions of packages."""
    return {"command": command(), "versions": versions(packages), "processor": processor()}


def result_path(name: str, label: str) -> Path:
    """Where a result is kept: beside this script, under its name and a label, if there is one."""
    return Path(__file__).with_name(f"{name}-{label}.json" if label else f"{name}.json")


def command() -> str:
    """What was typed, as a shell reads it."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python, of this project and of packages; a dash for one that is not installed."""
    own = {"python": platform.python_version(), "mosdeploy": mosdeploy.__version__}
    return own | {name: _version(name) for name in packages}


def processor() -> str:
    """What computes here, as Linux calls it."""
    path = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", path.read_text() if path.exists() else "", re.M)
    return f"{names[0]}, {len(names)} cores" if names else "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"
