"""Manages the versions of a bundle that stand on a device. Like the agent, this runs there, alone.

In: the folder `bundles` of the work folder. Out: one line of JSON. Needs Python 3.9 and nothing
else; what a version holds, and whether it works, is decided on the host.

    versions.py deduplicate BUNDLES VERSION
        link the files that other versions hold into this one; prints which are still missing
    versions.py activate BUNDLES VERSION KEEP
        make a tested version current and remove all but the last KEEP
    versions.py previous BUNDLES
        print which version is current, and which was before it
    versions.py rollback BUNDLES FROM TO
        make the one before current again

The folder holds:

    VERSION/SHA256SUMS       every file of the version; `sha256sum -c` reads it
    VERSION/deployment.json  there once the version has passed its self-test and was timed
    current                  link to the version in use; only ever replaced, in one step
    history                  versions in the order in which they became current, up to that one
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SUMS_NAME = "SHA256SUMS"
RECORD_NAME = "deployment.json"


def main(command: str, bundles: str, *arguments: str) -> None:
    """Run one command; print what it finds as one line of JSON."""
    commands: dict[str, Callable[..., dict[str, Any]]]
    commands = {
        "deduplicate": deduplicate,
        "activate": activate,
        "previous": previous,
        "rollback": rollback,
    }
    print(json.dumps(commands[command](Path(bundles), *arguments)), flush=True)


def deduplicate(bundles: Path, version: str) -> dict[str, Any]:
    """Link or copy into a version the files that others hold: {"missing": names of those that no
    version holds undamaged}.
    """
    folder = bundles / version
    others = [
        path for path in bundles.iterdir() if (path / SUMS_NAME).is_file() and path.name != version
    ]
    held: dict[str, list[Path]] = {}
    for other in others:
        for name, digest in read_sums(other).items():
            held.setdefault(digest, []).append(other / name)
    missing = []
    for name, digest in read_sums(folder).items():
        if sha256(folder / name) == digest:
            continue
        source = next((path for path in held.get(digest, []) if sha256(path) == digest), None)
        if source is None:
            missing.append(name)
        else:
            link_or_copy(source, folder / name)
    return {"missing": missing}


def activate(bundles: Path, version: str, keep: str) -> dict[str, Any]:
    """Switch to a version: {"removed": names of the versions that were dropped}; or {"error"}.

    The history is written before the switch. A process that is killed in between does no harm:
    what follows the version that `current` names is not part of the history.
    """
    with locked(bundles):
        if not (bundles / version / RECORD_NAME).is_file():
            reason = "is no longer whole; another deployment may have removed it"
            return {"error": f"{version} {reason}"}
        others = [name for name in history(bundles) if name != version]
        kept = [*others, version][-int(keep) :]
        lines = "".join(f"{name}\n" for name in kept)
        replace(bundles / "history", lambda new: new.write_text(lines))
        switch(bundles, version)
        folders = [path for path in bundles.iterdir() if path.is_dir() and not path.is_symlink()]
        removed = sorted(path.name for path in folders if path.name not in kept)
        for name in removed:
            shutil.rmtree(bundles / name, ignore_errors=True)
    return {"removed": removed}


def previous(bundles: Path) -> dict[str, Any]:
    """Names of the version in use and of the one before it: {"current", "previous"}, or None."""
    names = [None, None, *history(bundles)]
    return {"current": names[-1], "previous": names[-2]}


def rollback(bundles: Path, expected: str, version: str) -> dict[str, Any]:
    """Switch back if the current version is still the expected one: {}, or {"error"}."""
    with locked(bundles):
        found = previous(bundles)
        if found["current"] == version:  # the answer to an earlier call was lost
            return {}
        if found != {"current": expected, "previous": version}:
            return {
                "error": "the versions on the device changed meanwhile; run the same command again"
            }
        switch(bundles, version)
    return {}


# -- files -----------------------------------------------------------------------------------------


def history(bundles: Path) -> list[str]:
    """Versions that were current and still stand, oldest first, the current one last."""
    try:
        current = str((bundles / "current").readlink())
    except FileNotFoundError:
        return []
    path = bundles / "history"
    names = path.read_text().split() if path.is_file() else []
    past = names[: names.index(current)] if current in names else []
    return [*(name for name in past if (bundles / name / RECORD_NAME).is_file()), current]


def switch(bundles: Path, version: str) -> None:
    """Point `current` to a version that is safe on the disk."""
    os.sync()
    replace(bundles / "current", lambda new: new.symlink_to(version))
    os.sync()


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put something in the place of a file in one step."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    write(new)
    new.replace(path)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it where the file system has no links."""

    def write(new: Path) -> None:
        try:
            os.link(source, new)
        except OSError:
            shutil.copyfile(source, new)

    target.parent.mkdir(parents=True, exist_ok=True)
    replace(target, write)


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
def locked(bundles: Path) -> Iterator[None]:
    """Let one process at a time change what is current."""
    with (bundles / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main(*sys.argv[1:])
