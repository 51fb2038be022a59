"""What is copied to a device and runs there, in one archive with the runtime.

Here: small files, and the locks that let one agent at a time measure.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

ARCHIVE = Path(__file__).parents[3]
"""On a device: the archive that this lies in."""

PARENT = "MOSDEPLOY_AGENT_PID"
"""Variable of the environment that tells a process who started it."""

TOO_OLD = "Python is too old"

NO_PLACE = (errno.ENOLCK, errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT)
"""Errors of a work folder that another one would not have."""


def main(script: str, command: str, first: str, *words: str) -> None:
    """Run a command of a script; print what it finds as one line of JSON."""
    if sys.version_info < (3, 9):  # noqa: UP036  # the device's Python
        sys.exit(f"{TOO_OLD}: {sys.executable} is {platform.python_version()}")
    run = getattr(importlib.import_module(f".{script}", __name__), command)
    try:
        # a folder is an absolute path, and no other first word begins like one
        answer = run(Path(first) if first.startswith("/") else first, *words)
    except OSError as error:
        answer = {"error": f"{error.filename or first}: {error.strerror or error}"}
        if error.errno in NO_PLACE:
            answer["error"] += (
                "; set work_dir to a folder on a local disk that has space and may be written"
            )
    print(json.dumps(answer), flush=True)


MACHINE_LOCK = os.environ.get("MOSDEPLOY_MACHINE_LOCK", "/etc/machine-id")
"""The file that all agents of a machine lock, and only read; empty for none."""

LOCK_ATTEMPTS = 3
"""How often a lock is tried, 0.1 s apart: `busy` holds it for a moment."""


def read_text(path: str | Path) -> str:
    """Text of a small file; empty when it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put something in the place of a file in one step."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        write(new)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)  # on a full disk it would take what is left
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it where the file system has no links."""

    def write(new: Path) -> None:
        try:
            os.link(source, new)
        except OSError:
            shutil.copyfile(source, new)

    target.parent.mkdir(parents=True, exist_ok=True)
    replace(target, write)


def file_clock(folder: Path) -> float:
    """Return the time of a file that is written now."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def open_own(path: Path) -> int:
    """Open a file to append to, never through a link, which may lead to a file of somebody else."""
    # O_CLOEXEC is Python's default
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)


def busy(work_dir: Path) -> dict[str, Any]:
    """{"busy": what holds the device}, or {}."""
    lock = take_lock(work_dir)
    if lock is None:
        return {"busy": folder_holder(work_dir)}
    lock.close()
    machine_lock = take_machine_lock()
    if machine_lock is None:
        return {"busy": machine_holder()}
    machine_lock.close()
    return {}


def folder_holder(work_dir: Path) -> dict[str, Any]:
    """What the agent that holds the lock of a work folder wrote into it."""
    return dict(json.loads(read_text(work_dir / "agent.lock") or "{}"))


def machine_holder(processes: Path = Path("/proc")) -> dict[str, Any]:
    """Process and job of another agent of this machine, as far as it can be seen."""
    for path in processes.glob("[0-9]*/cmdline"):
        words = read_text(path).rstrip("\0").split("\0")
        pid = int(path.parent.name)
        if words[-3:-1] == ["agent", "work"] and pid != os.getpid():
            return {"pid": pid, "job": words[-1]}
    return {}


def take_lock(work_dir: Path) -> IO[str] | None:
    """Lock a work folder while the file is open here or in a fork; None when another holds it."""
    return locked(os.fdopen(open_own(work_dir / "agent.lock"), "a+"))


def take_machine_lock() -> IO[str] | None:
    """Lock the machine likewise; where it has no such file, nothing is locked."""
    try:
        return locked(Path(MACHINE_LOCK).open())
    except OSError:
        return Path(os.devnull).open()


def locked(file: IO[str]) -> IO[str] | None:
    """A file once it is locked; None when another process holds the lock."""
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        for _ in range(LOCK_ATTEMPTS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stack.pop_all()
                return file
            time.sleep(0.1)
    return None
