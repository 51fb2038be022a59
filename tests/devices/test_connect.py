"""A session of each kind, and one that reconnects."""

import errno
import os

import pytest

from mosdeploy.devices.connect import RECONNECT_WAITS_S, LastingSession, LocalSession
from mosdeploy.errors import (
    AuthError,
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    DeviceTimeoutError,
)


class FailingSession(LocalSession):
    """Raises the next of some errors at each call, until none is left."""

    def __init__(self, errors):
        super().__init__("dev")
        self.errors = errors

    def home(self):
        if self.errors:
            raise self.errors.pop(0)
        return "/home/dev"


@pytest.fixture
def open_lasting():
    """Opens a lasting session over `FailingSession`s; returns it and its messages and waits."""

    def open_(errors):
        messages = []
        waits_s = []
        session = LastingSession(lambda: FailingSession(errors), messages.append, waits_s.append)
        return session, messages, waits_s

    return open_


def test_a_call_is_repeated_after_each_wait(open_lasting):
    session, messages, waits_s = open_lasting([ConnectionLostError("cut")] * 2)
    assert session.home() == "/home/dev"
    assert waits_s == list(RECONNECT_WAITS_S[:2])
    assert messages == ["cut; reconnecting in 0.5 s", "cut; reconnecting in 2 s"]


def test_after_the_last_wait_it_gives_up(open_lasting):
    num_calls = len(RECONNECT_WAITS_S) + 1
    session, _, waits_s = open_lasting([ConnectionLostError("cut")] * num_calls)
    with pytest.raises(ConnectionLostError, match="gave up after 5 reconnects"):
        session.home()
    assert waits_s == list(RECONNECT_WAITS_S)
    assert session.home() == "/home/dev"


def test_a_device_that_stalls_again_is_given_up(open_lasting):
    stall, cut = DeviceTimeoutError("no answer within 60 s"), ConnectionLostError("cut")
    session, _, waits_s = open_lasting([stall, cut, stall, stall])
    with pytest.raises(ConnectionLostError, match=r"within 60 s; gave up after 2 reconnects"):
        session.home()
    assert waits_s == list(RECONNECT_WAITS_S[:2])
    assert session.home() == "/home/dev"  # the next call may stall once, too


@pytest.mark.parametrize("error", [AuthError("no key"), CommandTimeoutError("too long")])
def test_other_errors_are_not_retried(open_lasting, error):
    session, messages, _ = open_lasting([error])
    with pytest.raises(type(error)):
        session.home()
    assert messages == []


def test_a_program_that_may_not_run_has_the_shell_s_status(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert LocalSession().run([str(script)]).returncode == 126
    assert LocalSession().run([str(tmp_path / "missing")]).returncode == 127


def test_a_full_disk_is_named_and_leaves_no_part(tmp_path, monkeypatch):
    def fill(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(CommandError, match=r"dev: no space left to write .*/file"):
        LocalSession("dev").put_bytes(bytes(2_000_000), str(tmp_path / "file"))
    assert list(tmp_path.iterdir()) == []


def test_a_stored_file_may_be_read_by_all(tmp_path):
    path = tmp_path / "file"
    LocalSession().put_bytes(b"x", str(path))
    assert path.stat().st_mode & 0o777 == 0o644
