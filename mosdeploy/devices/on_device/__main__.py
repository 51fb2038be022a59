"""Runs one of the scripts: `python ARCHIVE SCRIPT COMMAND ARGUMENT...`."""

from __future__ import annotations

import importlib
import platform
import sys

TOO_OLD = "Python is too old"


def main(script: str, *words: str) -> None:
    """Run a command of a script, which prints what it finds as one line of JSON."""
    if sys.version_info < (3, 9):  # noqa: UP036  # the device's Python
        sys.exit(f"{TOO_OLD}: {sys.executable} is {platform.python_version()}")
    importlib.import_module(f".{script}", __package__).main(*words)


if __name__ == "__main__":
    main(*sys.argv[1:])
