"""Finds and removes what measuring and setting up have left in a work folder. Runs there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from . import ARCHIVE
from .locks import take_lock

PLACES = (
    ("jobs/*", "job"),
    ("agents/*", "scripts"),
    ("weights/*", "weights"),
    ("wheels", "wheels"),
    ("venv-*", "environment"),
)
"""Patterns below the work folder, and what lies there."""

UPLOAD_S = 3600.0
"""For so long after its last model a job that no agent was started for may still be uploaded, and
after its last file an environment may still be made.
"""


def main(command: str, work_dir: str, *paths: str) -> None:
    """Run one command; print what it finds as one line of JSON."""
    folder = Path(work_dir)
    try:
        answer = (found if command == "list" else remove)(folder, *paths)
    except OSError as error:
        answer = {"error": f"{error.filename or folder}: {error.strerror}"}
    print(json.dumps(answer), flush=True)


def found(folder: Path, *versions: str) -> dict[str, Any]:
    """{"leftovers": [{"path", "what", "size_bytes"}]}, the size being what its removal frees when
    all of it goes, the versions as well.
    """
    now_s = file_clock(folder)
    used = {(folder / "venv").resolve(), ARCHIVE.resolve()}
    begun = {x.resolve() for x in folder.glob("venv-*") if is_made_now(x, now_s)} - used
    if begun:
        used |= {*begun, (folder / "wheels").resolve()}
    whats = {
        path: what
        for pattern, what in PLACES
        for path in sorted(folder.glob(pattern))
        if path.resolve() not in used and not is_uploaded_now(path, now_s)
    }
    whats.update((folder / path, "version") for path in versions)
    leftovers = [
        {"path": str(path.relative_to(folder)), "what": whats[path], "size_bytes": size}
        for path, size in freed_bytes(list(whats)).items()
    ]
    return {"leftovers": leftovers}


def file_clock(folder: Path) -> float:
    """The time that a file has which is written now."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def is_uploaded_now(path: Path, now_s: float) -> bool:
    """Whether models of a job came a short while ago, and no agent was started for them yet."""
    if path.parent.name != "jobs":
        return False
    times = [x.st_mtime for x in map(state_of, path.glob("candidates/*.onnx*")) if x]
    started = state_of(path / "job.json")
    newest = max(times, default=0.0)
    is_new = started is None or newest > started.st_mtime
    return is_new and abs(now_s - newest) < UPLOAD_S


def is_made_now(environment: Path, now_s: float) -> bool:
    """Whether a file came into an environment a short while ago, or a wheel that may be for it;
    those that another has taken the place of are over.
    """
    is_over = environment.name.endswith(("-gone", "-before"))
    newest = max(newest_of(environment), newest_of(environment.with_name("wheels")))
    return not is_over and abs(now_s - newest) < UPLOAD_S


def newest_of(path: Path) -> float:
    """When the last file came into a folder; 0 if there is none."""
    states = map(state_of, (path, *path.rglob("*")))
    return max((x.st_mtime for x in states if x), default=0.0)


def state_of(path: Path) -> os.stat_result | None:
    """What is known of a file; None if it has gone meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def remove(folder: Path, *paths: str) -> dict[str, Any]:
    """Remove what `found` lists of some paths: {"removed": these}; or {"error"}."""
    lock = take_lock(folder)
    if lock is None:
        return {"error": "a measurement has begun meanwhile"}
    with lock:
        listed = [x["path"] for x in found(folder)["leftovers"] if x["path"] in paths]
        for path in listed:
            shutil.rmtree(folder / path, ignore_errors=True)
            if not (folder / path).is_dir():
                with contextlib.suppress(OSError):
                    (folder / path).unlink()
        return {"removed": [x for x in listed if not os.path.lexists(folder / x)]}


def freed_bytes(paths: list[Path]) -> dict[Path, int]:
    """How much each of some files or folders frees when all of them go: what has several names
    counts once, with the first, and not at all if one of its names stays.
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
