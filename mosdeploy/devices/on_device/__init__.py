"""What is copied to a device and runs there, in one archive: standard library and numpy alone."""

from __future__ import annotations

import importlib
import platform
import sys
from pathlib import Path

ARCHIVE = Path(__file__).parents[1]
"""On a device: the archive that this lies in."""

PARENT = "MOSDEPLOY_AGENT_PID"
"""Variable of the environment that tells a process who started it."""

TOO_OLD = "Python is too old"


def main(script: str, *words: str) -> None:
    """Run a command of a script, which prints what it finds as one line of JSON."""
    if sys.version_info < (3, 9):  # noqa: UP036  # the device's Python
        sys.exit(f"{TOO_OLD}: {sys.executable} is {platform.python_version()}")
    importlib.import_module(f".{script}", __name__).main(*words)
