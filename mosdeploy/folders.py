"""Folders: what lies in one, and how one takes the place of another in one step."""

import ctypes
import errno
import fnmatch
import glob
import os
import shutil
from pathlib import Path

from .storage import read_errors, sync


def listed(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that match a pattern, sorted; none where there is no folder."""
    found = [folder]
    with read_errors(folder):
        for part in Path(pattern).parts:
            entries = [path for parent in found for path in _entries(parent)]
            found = [path for path in entries if fnmatch.fnmatchcase(path.name, part)]
    return sorted(path for path in found if path.is_dir() or not pattern.endswith("/"))


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []


def replace_folder(new: Path, target: Path) -> None:
    """Put a new folder in the place of another, if there is one, in one step, even if the power
    fails; the other is then where the new one was.
    """
    restore_folder(target)
    # a rename can reach the disk before the content of what is renamed
    for path in (*new.rglob("*"), new):
        sync(path)
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):  # a file system, such as NFS, that can only rename
        aside = _aside(target)
        try:
            target.rename(aside)
            new.rename(target)
            sync(target.parent)
            aside.rename(new)
        except BaseException:
            restore_folder(target)
            raise
    sync(target.parent)


def restore_folder(target: Path) -> None:
    """Put back what a replacement moved aside that was killed before the new folder had taken the
    place; if it had, what was moved aside is removed.
    """
    aside = _aside(target)
    if not aside.exists():
        return
    if target.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(target)
        sync(target.parent)


def remove_scratch(target: Path) -> None:
    """Remove the folders `.NAME.*` beside a folder, which a killed command made to fill and
    left.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*/"):
        shutil.rmtree(left)


def _aside(target: Path) -> Path:
    # beside the folder, and under no name that is removed with what a killed command left
    return target.with_name(f".aside-{target.name}")


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step; False where the file system cannot."""
    at_fdcwd = -100  # Linux, <fcntl.h>: relative to the working folder
    rename_exchange = 2  # <linux/fs.h>
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    paths = (at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second))
    if library.renameat2(*paths, rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))
