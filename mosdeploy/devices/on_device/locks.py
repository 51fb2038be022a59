"""What holds a device, so that one agent at a time measures there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO, Any

from .files import open_own, read_text

MACHINE_LOCK = os.environ.get("MOSDEPLOY_MACHINE_LOCK", "/etc/machine-id")
"""What all agents of a machine lock, and only read; empty for nothing."""

LOCK_ATTEMPTS = 3
"""How often a lock is tried, 0.1 s apart: `busy` holds it for a moment."""


def busy(work_dir_text: str) -> dict[str, Any]:
    """{"busy": what holds the device}, or {}."""
    work_dir = Path(work_dir_text)
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
        *_, script, command, job = ("", "", *read_text(path).rstrip("\0").split("\0"))
        pid = int(path.parent.name)
        # "/.../agent.py" before 0.3.0
        is_agent = (Path(script).stem, command) == ("agent", "run")
        if is_agent and pid != os.getpid() and may_hold_machine(path.parent):
            return {"pid": pid, "job": job}
    return {}


def may_hold_machine(process: Path) -> bool:
    """Tell whether a process has the file open that locks the machine, or will not say."""
    try:
        opened = [str(path.readlink()) for path in (process / "fd").iterdir()]
    except OSError:  # another user's
        return True
    return os.path.realpath(MACHINE_LOCK) in opened


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
