"""Two users of one device."""

import pytest

from mosdeploy.devices import on_device


@pytest.fixture
def two_users(tmp_path, monkeypatch):
    """Work folders of two users of one machine."""
    monkeypatch.setattr(on_device, "MACHINE_LOCK", str(tmp_path / "machine-id"))
    (tmp_path / "machine-id").touch(0o444)
    folders = (tmp_path / "anna", tmp_path / "ben")
    for folder in folders:
        (folder / "jobs" / "job").mkdir(parents=True)
    return folders
