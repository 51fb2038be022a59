"""Writing whole files and folders: several writers, kills, links, what is on the disk when."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.storage import (
    _partial,
    atomic_copy,
    atomic_write,
    listed,
    replace_folder,
    restore_folder,
)

# -- atomic write


def test_atomic_write_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    atomic_write(path, "old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from mosdeploy import storage
        storage.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        storage.atomic_write(Path(sys.argv[1]), "new" * 1000)
    """)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, env=env)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    atomic_write(path, "newer")  # what the kill left goes with the next write
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_writers_at_once_leave_a_whole_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [letter * 100_000 for letter in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda content: atomic_write(path, content), contents * 20))
    assert path.read_text() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_partial_file_of_a_living_writer_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with _partial(path) as (partial, file):
        atomic_write(path, "other")
        file.write(b"mine")
        file.flush()
        assert partial.read_bytes() == b"mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_partial_file_that_was_taken_for_a_leftover_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def another_writer_is_quicker(file: IO[bytes], how: int) -> None:
        if not taken:
            taken.append(file.name)
            Path(file.name).unlink()

    monkeypatch.setattr("mosdeploy.storage.fcntl.flock", another_writer_is_quicker)
    atomic_write(tmp_path / "file", "content")
    assert taken
    assert (tmp_path / "file").read_text() == "content"


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(real)
    atomic_write(link, "new")
    assert link.readlink() == real
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", 0o600)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "elsewhere" / "made")
    atomic_write(dangling, "new")
    assert (tmp_path / "elsewhere" / "made").read_text() == "new"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(MosdeployError, match="cannot write"):
        atomic_write(loop, "new")


def test_a_copy_names_the_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(StaleInputError, match=r"source cannot be read: No such file"):
        atomic_copy(tmp_path / "source", tmp_path / "file")
    with pytest.raises(StaleInputError, match=r"mem cannot be read: Input/output error"):
        atomic_copy(Path("/proc/self/mem"), tmp_path / "file")  # opened, but not read
    assert (tmp_path / "file").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


# -- folders


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path, "*.json")] == ["a.json", "b.json"]
    assert listed(tmp_path / "none", "*.json") == []

    def fail(_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StaleInputError, match="cannot be read: Stale file handle"):
        listed(tmp_path, "*.json")


def folder_with(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text(text)
    return path


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr("mosdeploy.storage._exchange", lambda *_: False)
    target = tmp_path / "target"
    scratch = tmp_path / "scratch"
    replace_folder(folder_with(scratch / "one", "one"), target)
    assert list(scratch.iterdir()) == []
    replace_folder(folder_with(scratch / "two", "two"), target)
    assert (target / "file").read_text() == "two"
    assert [(path.name, (path / "file").read_text()) for path in scratch.iterdir()] == [
        ("two", "one")
    ]


def test_where_only_renaming_is_possible_a_failure_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_with(tmp_path / "target", "old")
    new = folder_with(tmp_path / "new", "new")
    rename = Path.rename

    def fails(path: Path, to: Path) -> Path:
        if path == new:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, to)

    monkeypatch.setattr("mosdeploy.storage._exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        replace_folder(new, target)
    assert (target / "file").read_text() == "old"
    assert (new / "file").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("has_new", [False, True], ids=["before", "after"])
def test_what_a_killed_replacement_moved_aside(tmp_path: Path, has_new: bool) -> None:
    target = tmp_path / "target"
    restore_folder(target)  # nothing was moved
    folder_with(tmp_path / ".aside-target", "old")
    if has_new:
        folder_with(target, "new")
    restore_folder(target)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (target / "file").read_text() == ("new" if has_new else "old")


def test_a_folder_that_is_replaced_is_there_all_the_while(tmp_path: Path) -> None:
    target = folder_with(tmp_path / "target", "a")
    other = folder_with(tmp_path / "other", "b")
    done = threading.Event()
    missing = []

    def watch() -> None:
        while not done.is_set():
            if not target.is_dir():
                missing.append(target)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(500):
        replace_folder(other, target)
    done.set()
    watcher.join()
    assert missing == []


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were forced to disk, in order."""
    found: list[Path] = []
    fsync = os.fsync

    def audit(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", audit)
    return found


def test_a_name_is_on_the_disk_after_its_content(tmp_path: Path, synced: list[Path]) -> None:
    atomic_write(tmp_path / "file", "content")
    partial, folder = synced
    assert (partial.parent, folder) == (tmp_path, tmp_path)
    assert partial.match(".file.*.partial")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_is_on_the_disk_before_it_takes_a_place(
    tmp_path: Path, synced: list[Path], is_there: bool
) -> None:
    new, target = tmp_path / "new", tmp_path / "place" / "target"
    (new / "deep").mkdir(parents=True)
    for path in (new / "one", new / "deep" / "two"):
        path.write_text("content")
    target.parent.mkdir()
    if is_there:
        target.mkdir()
    wanted = {new / "one", new / "deep" / "two", new / "deep", new}
    replace_folder(new, target)
    assert set(synced[:-1]) == wanted
    assert synced[-1] == target.parent
    assert (target / "deep" / "two").read_text() == "content"
