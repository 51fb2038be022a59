"""Folders: what lies in one, and how one takes the place of another in one step.

In: paths. Out: paths, and a folder that is whole wherever it is found.
"""

import ctypes
import errno
import os
from pathlib import Path

from .storage import read_errors, sync


def listed(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that match a pattern, sorted; none where there is no folder.

    Raises
    ------
    StaleInputError
        If the folder cannot be read.
    """
    with read_errors(folder):
        return sorted(folder.glob(pattern))


def replace_folder(new: Path, target: Path) -> None:
    """Put a new folder in the place of another, if there is one, in one step, even if the power
    fails; the other is then where the new one was.

    Raises
    ------
    OSError
        If the disk is read-only, or the folders lie on different ones.
    """
    # a rename can reach the disk before the content of what is renamed
    for path in (*new.rglob("*"), new):
        sync(path)
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):  # a file system, such as NFS, that can only rename
        aside = new.with_name(f"{new.name}.old")
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        aside.rename(new)
    sync(target.parent)


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
