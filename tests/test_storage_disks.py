"""Disks that are full, read-only or broken: what stands stays whole, and the error says why."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run_python

from mosdeploy.errors import MosdeployError
from mosdeploy.record import Record
from mosdeploy.storage import (
    append_line,
    atomic_write,
    disk_errors,
    read_lines,
)


class Note(Record):
    text: str
    weight: float = 1.0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two pages."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)], check=False
    )
    if mount.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_keeps_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "file"
    atomic_write(path, "old")
    with pytest.raises(MosdeployError, match="no space left") as caught:
        atomic_write(path, b"n" * 100_000)
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert [entry.name for entry in tiny_disk.iterdir()] == ["file"]


SAVES_TOKENS = """
import sys
from pathlib import Path
from mosdeploy.data.batches import Ragged
from mosdeploy.errors import MosdeployError
from mosdeploy.families.translation.dataset import TranslationDataset

rows = Ragged.of([range(4, 2000)])
try:
    TranslationDataset(rows, rows).save(Path(sys.argv[1]))
except MosdeployError as error:
    print(error)
"""


@pytest.mark.slow
def test_token_ids_on_a_full_disk_are_an_error_and_no_signal(tiny_disk: Path) -> None:
    path = tiny_disk / "tokens-train.npy"
    done = run_python("-c", SAVES_TOKENS, str(path), cwd=tiny_disk)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"no space left to write {path}")
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.parametrize("length", [4990, 5800, 6500, 7900, 12_000])
def test_full_disk_keeps_whole_lines_only(tiny_disk: Path, length: int) -> None:
    path = tiny_disk / "lines.jsonl"
    append_line(path, "a" * 3990)
    with pytest.raises(MosdeployError, match="no space left"):
        append_line(path, "b" * length)
    lines, torn = read_lines(path)
    assert [len(line) for line in lines] == [3992]
    assert not torn
    append_line(path, "c")
    assert read_lines(path)[0][1:] == [b'"c"']


@contextlib.contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    """Writes past `num_bytes` come up short, then fail (EFBIG): a full disk that needs no root."""
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)


@pytest.mark.parametrize("room", [1, 10, 16, 30])
def test_append_that_comes_up_short_leaves_whole_lines_only(tmp_path: Path, room: int) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, "a")
    before = path.read_bytes()
    with _largest_file(len(before) + room), pytest.raises(MosdeployError, match="File too large"):
        append_line(path, "b" * 28)
    assert path.read_bytes() == before
    append_line(path, "c")
    assert read_lines(path) == ([b'"a"', b'"c"'], False)


def test_write_to_a_full_device_is_explained() -> None:
    full = Path("/dev/full")
    with (
        pytest.raises(MosdeployError, match="no space left to write /dev/full") as caught,
        disk_errors(full),
    ):
        full.write_text("x")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EISDIR])
def test_disk_that_refuses_is_explained(number: int) -> None:
    with pytest.raises(MosdeployError, match="write a/b"), disk_errors(Path("a/b")):
        raise OSError(number, os.strerror(number))
