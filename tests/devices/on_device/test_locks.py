"""Who holds a device, as another agent finds it."""

import os

from mosdeploy.devices import on_device
from mosdeploy.devices.on_device import agent


def test_the_lock_is_free_again_when_its_holder_is_gone(tmp_path):
    lock = on_device.take_lock(tmp_path)
    assert on_device.take_lock(tmp_path) is None
    lock.close()
    again = on_device.take_lock(tmp_path)
    assert again is not None
    again.close()


def test_one_measurement_at_a_time_on_a_machine(two_users, monkeypatch):
    anna, ben = two_users
    holder = {"pid": 7, "job": "/home/anna/jobs/job"}
    for module in (agent, on_device):
        monkeypatch.setattr(module, "machine_holder", lambda: holder)
    assert on_device.busy(ben) == {}
    with on_device.take_lock(anna), on_device.take_machine_lock():
        assert on_device.busy(ben) == {"busy": holder}
        assert agent.run(ben / "jobs" / "job") == {"busy": holder}
        (anna / "agent.lock").write_text('{"pid": 8}')
        assert on_device.busy(anna) == {"busy": {"pid": 8}}
    assert on_device.busy(anna) == {}


def test_who_else_measures_is_read_from_its_command_line(tmp_path):
    for pid, words in (
        (11, ["python3", "agent.py"]),
        (12, ["python3", "/x/on_device-0.pyz", "agent", "work", "/home/anna/jobs/job"]),
        (13, ["python3", "/x/on_device-0.pyz", "agent", "busy", "/home/anna"]),
        (os.getpid(), ["python3", "/x/on_device-0.pyz", "agent", "work", "/home/ben/jobs/job"]),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text("".join(f"{word}\0" for word in words))
    assert on_device.machine_holder(tmp_path) == {"pid": 12, "job": "/home/anna/jobs/job"}
    assert on_device.machine_holder(tmp_path / "hidden") == {}


def test_a_machine_without_the_file_is_not_locked(monkeypatch, tmp_path):
    for path in (str(tmp_path / "missing"), ""):
        monkeypatch.setattr(on_device, "MACHINE_LOCK", path)
        first, second = on_device.take_machine_lock(), on_device.take_machine_lock()
        assert first is not None
        assert second is not None
        first.close()
        second.close()
