"""Locks of this machine's processes on what lies in a folder."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import MosdeployError
from .storage import disk_errors, make_folder


@contextlib.contextmanager
def locked(path: Path, busy: MosdeployError, wait_s: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock beside a file for as long as the block runs; the kernel frees it when
    the process dies.
    """
    # flock itself and not the package filelock: where a file system knows no flock, that falls back
    # to a marker file, which outlives a killed process
    with disk_errors(path):
        make_folder(path.parent)
        file = (path.parent / f".{path.name}.lock").open("w")
    with file:
        with disk_errors(path):
            end_s = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end_s:
                        raise busy from None
                time.sleep(0.1)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `locked` beside a file; nothing is written."""
    try:
        with (path.parent / f".{path.name}.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody ever held it
        return False
    return False
