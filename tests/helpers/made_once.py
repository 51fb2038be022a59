"""What the workers of one test run make once and share."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make`, given its path, made in this test run; other workers that make it
    meanwhile are waited for. Tests must not change it.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # without workers, that one holds earlier runs too
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / name).exists():
            with tempfile.TemporaryDirectory(dir=base) as unfinished:
                make(Path(unfinished) / name)
                (Path(unfinished) / name).rename(base / name)
    return base / name
