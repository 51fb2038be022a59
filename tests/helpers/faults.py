"""Failures of the disk: one call after the other fails, of those that write or read, whoever makes
it; or something happens just before it, or the process is killed.

Python tells an audit hook of every file that is opened, every rename, folder and link, whichever
library asks for it; a hook that raises makes the call fail.
"""

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mosdeploy import storage
from mosdeploy.errors import MosdeployError

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.ESTALE)
READ_ERRORS = (errno.EIO, errno.ESTALE)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {"os.rename": 0, "os.mkdir": 0, "os.link": 1, "os.symlink": 1, "os.truncate": 0}
"""Events of calls that change names, and the place of the path among their arguments."""
LISTS = ("os.listdir", "os.scandir")
UNREADABLE = "/proc/self/mem"
"""Can be opened; reading it from its beginning ends in EIO, looking for its end in EINVAL."""


class Faults:
    """Counts the calls that write, or read, under a folder, and makes one of them fail."""

    def __init__(self) -> None:
        self.root = Path()
        self.error = 0
        self.left = 0
        self.failed = False
        self.reads = False
        self.opens = False
        self.spoiled: Path | None = None
        self.then: Callable[[], object] | None = None

    def hit(self, path: object, reads: bool = False, is_file: bool = False) -> None:
        """One call that writes or reads; `is_file`: that opens a file to read its content."""
        if not self.left or reads is not self.reads or isinstance(path, int):
            return
        name = os.fsdecode(path)
        if not Path(name).is_relative_to(self.root):
            return
        if self.opens and not (is_file and Path(name).is_file()):
            return
        self.left -= 1
        if not self.left:
            self.failed = True
            if self.then is None:
                if self.opens:
                    self.spoil(Path(name))
                    return
                raise OSError(self.error, os.strerror(self.error), name)
            self.then()

    def spoil(self, path: Path) -> None:
        """Let a file be opened that then cannot be read; whoever opens it next gets it whole."""
        path.rename(path.with_name(f".{path.name}.spare"))
        path.symlink_to(UNREADABLE)
        self.spoiled = path

    def mend(self) -> None:
        """Put a file back that was spoiled."""
        path, self.spoiled = self.spoiled, None
        if path is not None and path.is_symlink():
            path.with_name(f".{path.name}.spare").replace(path)

    @contextlib.contextmanager
    def at(
        self, number: int, root: Path, error: int, reads: bool = False, opens: bool = False
    ) -> Iterator[None]:
        """Let the call of this number, from 1, fail; `failed` tells whether there was one. With
        `opens` a file opens that should be read, and reading it fails, with EIO.
        """
        self.root = root
        self.error = error
        self.reads = reads
        self.opens = opens
        self.then = None
        self.failed = False
        self.left = number
        try:
            yield
        finally:
            self.left = 0
            self.mend()

    @contextlib.contextmanager
    def before(
        self, number: int, root: Path, then: Callable[[], object], reads: bool = False
    ) -> Iterator[None]:
        """Do something just before the call of this number."""
        with self.at(number, root, 0, reads):
            self.then = then
            yield


_faults = Faults()
EVENTS = ("open", *LISTS, *PATHS)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _faults.spoiled is not None and event in EVENTS:
        _faults.mend()
    if not _faults.left:
        return
    if event == "open":
        path, mode, flags = arguments
        # `os.open` has no mode, and is for locks and folders
        reads = not (isinstance(flags, int) and flags & WRITES)
        _faults.hit(path, reads=reads, is_file=mode is not None)
    elif event in LISTS:
        _faults.hit(arguments[0], reads=True)
    elif event in PATHS:
        _faults.hit(arguments[PATHS[event]])


_is_installed: list[bool] = []


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """The failures of this process's disk; none until they are asked for."""
    if not _is_installed:
        sys.addaudithook(_hook)  # which stays for as long as the process lives
        _is_installed.append(True)
    fsync = os.fsync
    exchange = storage._exchange

    def failing_fsync(descriptor: int) -> None:
        _faults.hit(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def failing_exchange(first: Path, second: Path) -> bool:
        _faults.hit(second)
        return exchange(first, second)

    monkeypatch.setattr(os, "fsync", failing_fsync)
    monkeypatch.setattr(storage, "_exchange", failing_exchange)
    return _faults


@pytest.fixture(params=[True, False], ids=["exchange", "renames"])
def can_exchange(
    request: pytest.FixtureRequest, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Where two names are exchanged in one step, and where, as on NFS, they can only be renamed."""
    if not request.param:
        monkeypatch.setattr(storage, "_exchange", lambda *_: False)
    return bool(request.param)


DYING = """
import os, sys
from pathlib import Path
from mosdeploy import storage

renames = []
rename = Path.rename

def dying(path, to):
    renames.append(path)
    if len(renames) == {number}:
        os._exit(9)
    return rename(path, to)

storage._exchange = lambda *_: False
Path.rename = dying
root = Path(sys.argv[1])
"""


def killed_at_rename(number: int, code: str, root: Path) -> bool:
    """Run code about `root` in a process that cannot exchange names and dies just before the rename
    of this number, from 1; False where there are not so many.
    """
    tests = Path(__file__).parents[1]
    paths = (tests.parent, tests / "helpers", tests, tests / "export")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    program = DYING.format(number=number) + code
    done = subprocess.run([sys.executable, "-c", program, str(root)], check=False, env=env)
    assert done.returncode in (0, 9)
    return done.returncode == 9


def fail_everywhere(
    faults: Faults,
    before: Path,
    act: Callable[[Path], object],
    check: Callable[[Path], object],
    *,
    reads: bool = False,
    opens: bool = False,
    every: int = 1,
) -> int:
    """Do something again and again in a fresh copy of a folder, with one write call failing after
    the other, by an error of the disk in turn: it may raise a MosdeployError alone, and what it
    leaves passes the check.

    Parameters
    ----------
    reads
        Let calls fail that read instead: a failure need not be told where something else serves.
    opens
        Let files that are read be opened, and their reading fail.
    every
        Let the first of so many calls fail.

    Returns
    -------
    int
        How many calls failed.
    """
    for count in itertools.count():
        number = 1 + every * count
        errors = READ_ERRORS if reads else ERRORS
        error = errno.EIO if opens else errors[(count + 1) % len(errors)]
        root = before.with_name(f"{before.name}-{number}")
        shutil.copytree(before, root, symlinks=True)
        with faults.at(number, root, error, reads, opens):
            try:
                act(root)
                told = False
            except MosdeployError as failure:
                told = True
                reasons = [os.strerror(error), "no space left"]
                reasons += [os.strerror(errno.EINVAL)] if opens else []
                assert any(reason in str(failure) for reason in reasons)
        check(root)
        shutil.rmtree(root)
        if not faults.failed:
            assert not told
            break
    return count
