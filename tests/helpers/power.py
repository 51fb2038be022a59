"""What a cut of the power would lose: all that was written and never forced to the disk."""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """What is on the disk of the files and names in a folder, as the calls of fsync tell; all that
    stands there at first is.

    A file is taken to be changed if its size or its time of change is another one.
    """

    def __init__(self, root: Path, ignored: tuple[str, ...], patch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._ignored = ignored
        self._names: dict[int, dict[str, int]] = {}  # of a folder, by its inode: inodes by name
        self._contents: dict[int, tuple[int, int]] = {}  # of a file, by its inode
        fsync = os.fsync

        def told(descriptor: int) -> None:
            fsync(descriptor)
            self._keep(Path(f"/proc/self/fd/{descriptor}").readlink())

        patch.setattr(os, "fsync", told)
        for path in (root, *root.rglob("*")):
            self._keep(path)

    def _keep(self, path: Path) -> None:
        status = path.stat()
        if path.is_dir():
            with os.scandir(path) as entries:
                self._names[status.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            self._contents[status.st_ino] = (status.st_size, status.st_mtime_ns)

    def lost(self) -> list[str]:
        """Names and contents of files that a cut would take now, relative to the folder."""
        return sorted(self._lost(self._root))

    def _lost(self, folder: Path) -> Iterator[str]:
        names = self._names.get(folder.stat().st_ino, {})
        for path in folder.iterdir():
            name = str(path.relative_to(self._root))
            if any(fnmatch.fnmatch(name, pattern) for pattern in self._ignored):
                continue
            status = path.stat()
            if names.get(path.name) != status.st_ino:
                yield f"the name {name}"
            if path.is_dir():
                yield from self._lost(path)
            elif self._contents.get(status.st_ino) != (status.st_size, status.st_mtime_ns):
                yield f"the content of {name}"
