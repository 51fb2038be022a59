"""Runs one of the scripts: `python ARCHIVE SCRIPT COMMAND ARGUMENT...`."""

from __future__ import annotations

import importlib
import sys


def main(script: str, *words: str) -> None:
    """Run a command of a script, which prints what it finds as one line of JSON."""
    importlib.import_module(f".{script}", __package__).main(*words)


if __name__ == "__main__":
    main(*sys.argv[1:])
