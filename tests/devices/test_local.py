"""What is special about this machine as a device; what all sessions promise is in test_session."""

import errno
import os
from pathlib import Path

import pytest

from mosdeploy.devices.local import LocalSession
from mosdeploy.errors import CommandError


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


def test_home_is_that_of_the_user():
    assert LocalSession().home() == str(Path.home())
