"""Runs on a device: manages what lies in its work folder: the versions of a bundle in each slot, a
folder with a `current` link; environments; and what nothing needs any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import ARCHIVE, file_clock, link_or_copy, open_own, replace, take_lock

SUMS_NAME = "SHA256SUMS"
RECORD_NAME = "deployment.json"
CLAIM_NAME = "in-work"
CLAIM_LASTS_S = 6 * 3600.0  # a host that was killed takes no claim off

VERSION = re.compile("[0-9a-f]{16}-[0-9a-f]{8}")
"""Name of a version's folder; what is called otherwise is not ours and is never removed."""


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


def claim(folder: Path, version: str, owner: str, is_shared: str) -> dict[str, Any]:
    """Make a version's folder and spare it from removal: {}; or {"owner": the run folder of the
    slot}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        other = other_owner(folder, owner, is_shared)
        if other:
            return {"owner": other}
        token = os.fsencode(owner)
        replace(folder / "owner", lambda new: new.write_bytes(token))
        for name in versions(folder):  # a run folder works at one: the rest a cut-off command left
            with contextlib.suppress(OSError):
                if (folder / name / CLAIM_NAME).read_bytes() == token:
                    release(folder, name)
        (folder / version).mkdir(exist_ok=True)
        replace(folder / version / CLAIM_NAME, lambda new: new.write_bytes(token))
    return {}


def release(folder: Path, version: str) -> dict[str, Any]:
    """Take the claim off a version: {}."""
    (folder / version / CLAIM_NAME).unlink(missing_ok=True)
    return {}


def deduplicate(folder: Path, version: str) -> dict[str, Any]:
    """Link or copy into a version the files that others hold, in any slot: {"missing": names of
    files that no version holds undamaged}.
    """
    held: dict[str, list[Path]] = {}
    for sums in folder.parent.glob(f"*/*/{SUMS_NAME}"):
        if sums.parent == folder / version:
            continue
        with contextlib.suppress(OSError):  # removed meanwhile
            for name, digest in read_sums(sums.parent).items():
                held.setdefault(digest, []).append(sums.parent / name)
    missing = []
    for name, digest in read_sums(folder / version).items():
        if sha256(folder / version / name) == digest:
            continue
        for source in held.get(digest, []):
            if sha256(source) == digest:
                with contextlib.suppress(OSError):
                    link_or_copy(source, folder / version / name)
                    break
        else:
            missing.append(name)
    return {"missing": missing}


def activate(folder: Path, version: str, keep: str, record: str) -> dict[str, Any]:
    """Switch to a version: {"removed": names of the versions that were dropped}; or {"error"}."""
    with locked(folder):
        damaged = damaged_files(folder / version)
        if damaged:
            return {
                "error": f"{folder / version} is no longer whole ({', '.join(damaged)}), another "
                "command may have removed it; `current` is unchanged: run the same command again"
            }
        replace(folder / version / RECORD_NAME, lambda new: new.write_bytes(os.fsencode(record)))
        kept = [*(name for name in history(folder) if name != version), version][-int(keep) :]
        lines = "".join(f"{name}\n" for name in kept)
        replace(folder / "history", lambda new: new.write_text(lines))
        switch(folder, version)
        release(folder, version)
        removed = [name for name in versions(folder) if name not in kept]
        removed = [name for name in removed if not is_claimed(folder / name)]
        for name in removed:
            shutil.rmtree(folder / name, ignore_errors=True)
        return {"removed": removed}


def previous(folder: Path, owner: str, is_shared: str) -> dict[str, Any]:
    """{"current", "previous"}, names or None; or {"owner": the other run folder of the slot}."""
    other = other_owner(folder, owner, is_shared)
    return {"owner": other} if other else current_and_previous(folder)


def rollback(folder: Path, expected: str, version: str) -> dict[str, Any]:
    """Switch back if the current version is still the expected one: {}, or {"error"}."""
    with locked(folder):
        found = current_and_previous(folder)
        if found["current"] == version:  # the answer to an earlier call was lost
            return {}
        if found != {"current": expected, "previous": version} or damaged_files(folder / version):
            return {
                "error": "the versions on the device changed meanwhile; run the same command again"
            }
        switch(folder, version)
    return {}


# -- versions --------------------------------------------------------------------------------------


def removable(bundles: Path, with_earlier: str) -> list[Path]:
    """Folders of versions that no slot needs."""
    found: list[Path] = []
    for folder in sorted(lock.parent for lock in bundles.glob("*/.lock")):
        used = history(folder)[-1 if with_earlier == "yes" else 0 :]
        found += (folder / name for name in versions(folder) if name not in used)
    return [path for path in found if not is_claimed(path)]


def drop(folder: Path, name: str) -> None:
    """Remove a version unless it is current or claimed."""
    with locked(folder):
        if name not in history(folder)[-1:] and not is_claimed(folder / name):
            shutil.rmtree(folder / name, ignore_errors=True)


def versions(folder: Path) -> list[str]:
    """Names of all versions that stand in a slot, sorted."""
    names = (path.name for path in folder.glob("*") if path.is_dir() and not path.is_symlink())
    return sorted(name for name in names if VERSION.fullmatch(name))


def current_and_previous(folder: Path) -> dict[str, Any]:
    """Names of the version in use and of the one before it."""
    names = [None, None, *history(folder)]
    return {"current": names[-1], "previous": names[-2]}


def history(folder: Path) -> list[str]:
    """Versions that were current and still stand, oldest first, the current one last."""
    try:
        current = str((folder / "current").readlink())
    except FileNotFoundError:
        return []
    path = folder / "history"
    names = path.read_text().split() if path.is_file() else []
    past = names[: names.index(current)] if current in names else []
    return [*(name for name in past if (folder / name / RECORD_NAME).is_file()), current]


def damaged_files(version: Path) -> list[str]:
    """Files of a version that are missing or not what SHA256SUMS says; the name of a version ends
    with the digest of SHA256SUMS itself.
    """
    if (sha256(version / SUMS_NAME) or "")[:8] != version.name[-8:]:
        return [SUMS_NAME]
    return [name for name, x in read_sums(version).items() if sha256(version / name) != x]


def other_owner(folder: Path, owner: str, is_shared: str) -> str:
    """The run folder that deploys here, if it is another one and the slot is not shared."""
    try:
        found = os.fsdecode((folder / "owner").read_bytes())  # in any locale, as it was given
    except FileNotFoundError:
        return ""
    return "" if is_shared == "yes" or found == owner else found


def is_claimed(version: Path) -> bool:
    """Tell whether a version was claimed not long ago."""
    try:
        claimed_s = (version / CLAIM_NAME).stat().st_mtime
        return abs(file_clock(version) - claimed_s) < CLAIM_LASTS_S
    except OSError:
        return False


# -- files -----------------------------------------------------------------------------------------


def switch(folder: Path, version: str) -> None:
    """Point `current` to a version that is safe on the disk."""
    os.sync()
    replace(folder / "current", lambda new: new.symlink_to(version))
    os.sync()


def read_sums(folder: Path) -> dict[str, str]:
    """Digest of each file of a version, by its path there."""
    lines = (line.partition("  ") for line in (folder / SUMS_NAME).read_text().splitlines())
    return {name: digest for digest, _, name in lines}


def sha256(path: Path) -> str | None:
    """Hex SHA-256 of a file; None if there is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change what is current."""
    with os.fdopen(open_own(folder / ".lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- the work folder -------------------------------------------------------------------------------


def leftovers(folder: Path, with_earlier: str) -> dict[str, Any]:
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
    found = [
        {"path": str(path.relative_to(folder)), "what": whats[path], "size_bytes": size}
        for path, size in freed_bytes(list(whats)).items()
    ]
    return {"leftovers": found}


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
    """Remove what `leftovers` lists: {"leftovers": what is gone}; or {"error"}."""
    lock = take_lock(folder)
    if lock is None:
        return {"error": "a measurement has begun meanwhile"}
    with lock:
        found = leftovers(folder, with_earlier)["leftovers"]
        for leftover in found:
            path = folder / leftover["path"]
            if leftover["what"] == "version":
                drop(path.parent, path.name)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        return {"leftovers": [x for x in found if not os.path.lexists(folder / x["path"])]}


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


def use_environment(folder: Path, name: str) -> dict[str, Any]:
    """Point `venv` to a whole environment, and remove all others: {}; or {"error"}."""
    lock = take_lock(folder)
    if lock is None:
        return {"error": "a measurement has begun meanwhile; run the same command when it is over"}
    with lock:
        if not (folder / name / "bin" / "python").exists():
            return {"error": "another setup has removed this environment; run the command again"}
        replace(folder / "venv", lambda new: new.symlink_to(name))
        others = [path for path in folder.glob("venv-*") if path.name != name]
        for path in others:  # at once, for a setup that is still at it to see
            with contextlib.suppress(OSError):
                path.rename(folder / f"old-{path.name}")
    for path in folder.glob("old-venv-*"):
        shutil.rmtree(path, ignore_errors=True)
    return {}
