"""Which Python of a device is run, from where, and what is not run."""

import os
import stat
import sys
from pathlib import Path

import pytest

from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.job import AgentJob
from mosdeploy.devices.probe import probe
from mosdeploy.errors import CommandError, ConfigError


@pytest.fixture
def make_device(make_profile):
    return lambda **changes: Device(LocalSession(), make_profile(**changes))


@pytest.fixture
def folder(make_profile):
    """The work folder, made by hand."""
    path = Path(make_profile().work_dir)
    path.mkdir()
    return path


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_work_folder_is_absolute_and_not_the_user_s(make_device, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert make_device(work_dir="~/x/").work_dir() == f"{tmp_path}/x"
    with pytest.raises(ConfigError, match="work_dir"):
        make_device(work_dir=str(tmp_path)).work_dir()


@pytest.mark.parametrize("path", ["x", "~/", "~//.", "~/x/..", "/", "//", "/x/../"])
def test_a_work_folder_that_is_the_user_s_is_no_profile(make_device, path):
    with pytest.raises(ValueError, match="work_dir"):
        make_device(work_dir=path)


def test_python_of_the_environment_comes_first(make_device, folder):
    assert make_device().python_path() == sys.executable
    program(folder / "venv" / "bin" / "python", "echo the environment")
    assert make_device().python_path() == "the environment"


def test_a_python_may_lie_in_the_home_folder(make_device, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my venv").mkdir()
    (tmp_path / "my venv" / "python").symlink_to(sys.executable)
    found = make_device(python="~/my venv/python").python_path()
    assert found == f"{tmp_path}/my venv/python"


def test_modules_of_the_current_folder_are_not_run(make_device, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("print('planted')")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}")  # both parts are the current folder
    for python in (sys.executable, "bin/python"):
        device = make_device(python=python)
        assert "No module named planted" in device.run_python("-m planted").stderr
        assert device.run_python("-c 'import os; print(os.getcwd())'").stdout == "/\n"


def test_the_work_folder_is_made_for_the_user_alone(make_device, tmp_path):
    old_mask = os.umask(0o002)
    try:
        made = Path(make_device(work_dir=str(tmp_path / "a b" / "*")).work_dir())
    finally:
        os.umask(old_mask)
    assert [stat.S_IMODE(x.stat().st_mode) for x in (made, made.parent)] == [0o700, 0o700]


@pytest.mark.parametrize(
    ("kind", "told"),
    [("file", "is no folder"), ("link", "is no folder"), ("below", "cannot make .*/file/x: ")],
)
def test_a_work_folder_that_is_no_folder_is_told(make_device, tmp_path, kind, told):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "below").symlink_to("file/x")
    path = tmp_path / ("file/x" if kind == "below" else kind)
    with pytest.raises(CommandError, match=rf"{told}.*set another work_dir"):
        make_device(work_dir=str(path)).work_dir()


@pytest.mark.parametrize(
    ("mode", "is_allowed"),
    [(0o700, True), (0o755, True), (0o757, False), (0o777, False), (0o1777, False)],
)
def test_a_work_folder_that_others_write_to_is_refused(make_device, folder, mode, is_allowed):
    folder.chmod(mode)
    if is_allowed:
        assert make_device().run_python("-c pass").returncode == 0
    else:
        with pytest.raises(CommandError, match=rf"may write to {folder}, .*chmod -R .* {folder}$"):
            make_device().run_python("-c pass")


@pytest.mark.parametrize("name", ["up", "link", "target"])
@pytest.mark.parametrize(("mode", "is_allowed"), [(0o755, True), (0o777, False), (0o1777, True)])
def test_a_folder_that_others_replace_is_refused(make_device, tmp_path, name, mode, is_allowed):
    paths = {x: tmp_path / x for x in ("up", "link", "target")}
    for path in paths.values():
        path.mkdir()
    (paths["target"] / "down" / "mine").mkdir(parents=True)
    (paths["link"] / "mine").symlink_to(paths["target"] / "down" / "mine")
    paths[name].chmod(mode)
    device = make_device(work_dir=str(tmp_path / ("up/x/y" if name == "up" else "link/mine")))
    if is_allowed:
        device.work_dir()
    else:
        with pytest.raises(CommandError, match=rf"others may write to {paths[name]}, so"):
            device.work_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_only_a_group_of_the_user_s_own_may_write(make_device, folder):
    folder.chmod(0o775)  # as with umask 002, where each user has a group
    make_device().work_dir()
    os.chown(folder, 0, 12345)
    with pytest.raises(CommandError, match="others may write to /"):
        make_device().work_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folders_of_another_user_are_refused(make_device, folder):
    os.chown(folder.parent, 12345, 12345)
    with pytest.raises(CommandError, match=f"{folder.parent} belongs to another user"):
        make_device().work_dir()
    os.chown(folder.parent, 0, 0)
    program(folder / "venv" / "bin" / "python", "echo planted")
    os.chown(folder, 12345, 12345)
    with pytest.raises(CommandError, match="belongs to another user") as told:
        make_device().python_path()
    assert "chmod" not in str(told.value)  # which the owner alone could do


def test_what_lies_above_the_home_folder_is_not_looked_at(make_device, tmp_path, monkeypatch):
    home = tmp_path / "homes" / "me"
    home.mkdir(parents=True)
    home.parent.chmod(0o777)
    monkeypatch.setenv("HOME", str(home))
    make_device(work_dir="~/x").work_dir()
    home.chmod(0o777)
    with pytest.raises(CommandError, match=r"others may write to .*/homes/me, so"):
        make_device(work_dir="~/x").work_dir()


def test_nothing_is_stored_through_a_planted_link(make_profile, folder, session, tmp_path):
    (tmp_path / "victim").mkdir()
    folder.chmod(0o777)
    for name in ("agents", "jobs"):
        (folder / name).symlink_to(tmp_path / "victim")
    device = Device(session, make_profile())
    for call in (probe, lambda device: AgentJob(device, "job").add("a", b"model")):
        with pytest.raises(CommandError, match="others may write to /"):
            call(device)
    assert list((tmp_path / "victim").iterdir()) == []
