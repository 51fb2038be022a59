"""Runs on a device: removes what measuring and setting up have left, and switches environments."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import ARCHIVE
from .files import file_clock, take_lock
from .slots import drop, removable

PLACES = (
    ("jobs/*", "job"),
    ("agents/*", "scripts"),
    ("weights/*", "weights"),
    ("wheels", "wheels"),
    ("venv-*", "environment"),
)
"""Patterns below the work folder, and what lies there."""

RECENT_S = 3600.0
"""For so long after its last change, a job may still be uploaded or an environment filled."""


def main(command: str, work_dir: str, word: str) -> None:
    """Run one command; print what it finds as one line of JSON."""
    commands: dict[str, Callable[[Path, str], dict[str, Any]]] = {
        "list": found,
        "remove": remove,
        "switch": switch,
    }
    folder = Path(work_dir)
    try:
        answer = commands[command](folder, word)
    except OSError as error:
        answer = {"error": f"{error.filename or folder}: {error.strerror}"}
    print(json.dumps(answer), flush=True)


def found(folder: Path, with_earlier: str) -> dict[str, Any]:
    """{"leftovers": [{"path", "what", "size_bytes"}]}: the size is what becomes free when all that
    is listed goes.
    """
    now_s = file_clock(folder)
    used = {(folder / "venv").resolve(), ARCHIVE.resolve()}
    whats = {
        path: what
        for pattern, what in PLACES
        for path in sorted(folder.glob(pattern))
        if path.resolve() not in used and not is_recent(path, now_s)
    }
    whats.update(dict.fromkeys(removable(folder / "bundles", with_earlier), "version"))
    leftovers = [
        {"path": str(path.relative_to(folder)), "what": whats[path], "size_bytes": size}
        for path, size in freed_bytes(list(whats)).items()
    ]
    return {"leftovers": leftovers}


def is_recent(path: Path, now_s: float) -> bool:
    """Tell whether something changed a short while ago: somebody may still be at it."""
    states = map(state_of, (path, *path.rglob("*")))
    return any(abs(now_s - state.st_mtime) < RECENT_S for state in states if state)


def state_of(path: Path) -> os.stat_result | None:
    """Return the state of a file; None if it has gone meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def remove(folder: Path, with_earlier: str) -> dict[str, Any]:
    """Remove what `found` lists: {"leftovers": what is gone}; or {"error"}."""
    lock = take_lock(folder)
    if lock is None:
        return {"error": "a measurement has begun meanwhile"}
    with lock:
        leftovers = found(folder, with_earlier)["leftovers"]
        for leftover in leftovers:
            path = folder / leftover["path"]
            if leftover["what"] == "version":
                drop(path.parent, path.name)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        return {"leftovers": [x for x in leftovers if not os.path.lexists(folder / x["path"])]}


def freed_bytes(paths: list[Path]) -> dict[Path, int]:
    """Size by size what becomes free when all of some files and folders go: a file of several
    names counts once, with the first, and not at all if one of its names stays.
    """
    named: dict[tuple[int, int], list[tuple[Path, os.stat_result]]] = {}
    for path in paths:
        for state in map(state_of, (path, *path.rglob("*"))):
            if state is not None:
                named.setdefault((state.st_dev, state.st_ino), []).append((path, state))
    freed = dict.fromkeys(paths, 0)
    for (path, state), *others in named.values():
        if stat.S_ISREG(state.st_mode) and state.st_nlink <= 1 + len(others):
            freed[path] += state.st_size
    return freed


def switch(folder: Path, name: str) -> dict[str, Any]:
    """Point `venv` to a whole environment, and remove all others: {}; or {"error"}."""
    lock = take_lock(folder)
    if lock is None:
        return {"error": "a measurement has begun meanwhile; run the same command when it is over"}
    with lock:
        if not (folder / name / "bin" / "python").exists():
            return {"error": "another setup has removed this environment; run the command again"}
        link = folder / ".venv.new"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        link.replace(folder / "venv")
        others = [path for path in folder.glob("venv-*") if path.name != name]
        for path in others:  # at once, for a setup that is still at it to see
            with contextlib.suppress(OSError):
                path.rename(folder / f"old-{path.name}")
    for path in folder.glob("old-venv-*"):
        shutil.rmtree(path, ignore_errors=True)
    return {}
