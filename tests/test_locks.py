"""Locks: one holder at a time, free when it dies."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mosdeploy.errors import DeviceBusyError, MosdeployError
from mosdeploy.locks import is_locked, locked

BUSY = DeviceBusyError("another profile is running on 'rpi'; wait for it")


def test_second_lock_refuses_and_a_freed_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    with locked(path, BUSY), pytest.raises(DeviceBusyError) as caught, locked(path, BUSY):
        pass
    assert caught.value is BUSY
    with locked(path, BUSY), locked(tmp_path / "other.jsonl", BUSY):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from mosdeploy.errors import DeviceBusyError
        from mosdeploy.locks import locked
        with locked(Path(sys.argv[1]), DeviceBusyError("busy")):
            print("held", flush=True)
            time.sleep(60)
    """)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DeviceBusyError), locked(path, BUSY):
            pass
        holder.kill()
        holder.wait(timeout=10)
    with locked(path, BUSY):
        pass


def test_a_file_system_without_locks_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("mosdeploy.locks.fcntl.flock", refuse)
    with (
        pytest.raises(MosdeployError, match=r"latency\.jsonl: No locks available"),
        locked(tmp_path / "latency.jsonl", BUSY),
    ):
        pass


def test_whether_a_lock_is_held_is_told_without_writing(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    assert not is_locked(path)
    assert not list(tmp_path.iterdir())
    with locked(path, BUSY):
        assert is_locked(path)
    assert not is_locked(path)
