"""What each kept result says of its making: the command, and versions of what computed it."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from pathlib import Path


def command() -> str:
    """What was typed."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python and of packages; a dash for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"
