"""Which Python of a device is run, from where, and what is not run."""

import os
import stat
import sys
from pathlib import Path

import pytest

from mosdeploy.devices.device import Device
from mosdeploy.devices.job import AgentJob
from mosdeploy.devices.local import LocalSession
from mosdeploy.devices.probe import probe
from mosdeploy.errors import CommandError, ConfigError


def test_the_work_folder_is_absolute(make_profile, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    session = LocalSession()
    assert Device(session, make_profile(work_dir="~/x/")).work_dir() == f"{tmp_path}/x"
    with pytest.raises(ConfigError, match="must begin with '/' or '~/', got 'x'"):
        Device(session, make_profile(work_dir="x")).work_dir()


@pytest.mark.parametrize("path", ["~/", "~//.", "~/x/..", "/", "//", str(Path.home()), "/x/../"])
def test_the_work_folder_is_not_the_user_s(make_profile, path):
    with pytest.raises(ConfigError, match=f"must be a folder of mosdeploy's own, .*got '{path}'"):
        Device(LocalSession(), make_profile(work_dir=path)).work_dir()


def test_python_of_the_environment_comes_first(make_profile):
    profile = make_profile()
    assert Device(LocalSession(), profile).python_path() == sys.executable
    venv = Path(profile.work_dir) / "venv" / "bin" / "python"
    venv.parent.mkdir(parents=True)
    venv.write_text("#!/bin/sh\necho the environment\n")
    venv.chmod(0o755)
    assert Device(LocalSession(), profile).python_path() == "the environment"


def test_a_python_may_lie_in_the_home_folder(make_profile, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my venv").mkdir()
    (tmp_path / "my venv" / "python").symlink_to(sys.executable)
    profile = make_profile(python="~/my venv/python")
    assert Device(LocalSession(), profile).python_path() == f"{tmp_path}/my venv/python"


def test_modules_of_the_current_folder_are_not_run(make_profile, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("print('planted')")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}")  # both parts are the current folder
    for python in (sys.executable, "bin/python"):
        profile = make_profile(python=python)
        result = Device(LocalSession(), profile).run_python("-m planted")
        assert result.returncode == 1
        assert "No module named planted" in result.stderr
        found = Device(LocalSession(), profile).run_python("-c 'import os; print(os.getcwd())'")
        assert found.stdout == "/\n"


def test_the_work_folder_is_made_for_the_user_alone(make_profile, tmp_path):
    profile = make_profile(work_dir=str(tmp_path / "a b" / "*"))
    old_mask = os.umask(0o002)
    try:
        folder = Path(Device(LocalSession(), profile).work_dir())
    finally:
        os.umask(old_mask)
    assert [stat.S_IMODE(x.stat().st_mode) for x in (folder, folder.parent)] == [0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"cannot make .*/file/x: .*set another work_dir"):
        Device(LocalSession(), make_profile(work_dir=str(tmp_path / "file" / "x"))).work_dir()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_work_folder_that_is_no_folder_is_told(make_profile, kind):
    path = Path(make_profile().work_dir)
    if kind == "file":
        path.touch()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(CommandError, match=rf"{path} is no folder, .*; remove it there, or set"):
        Device(LocalSession(), make_profile()).work_dir()


@pytest.mark.parametrize(
    ("mode", "is_allowed"),
    [(0o700, True), (0o755, True), (0o757, False), (0o777, False), (0o1777, False)],
)
def test_a_work_folder_that_others_write_to_is_refused(make_profile, mode, is_allowed):
    profile = make_profile()
    folder = Path(profile.work_dir)
    folder.mkdir()
    folder.chmod(mode)
    if is_allowed:
        assert Device(LocalSession(), profile).run_python("-c pass").returncode == 0
    else:
        with pytest.raises(CommandError, match=rf"may write to {folder}, .*chmod -R .* {folder}$"):
            Device(LocalSession(), profile).run_python("-c pass")


@pytest.mark.parametrize("name", ["up", "link", "target"])
@pytest.mark.parametrize(("mode", "is_allowed"), [(0o755, True), (0o777, False), (0o1777, True)])
def test_a_folder_that_others_replace_is_refused(make_profile, tmp_path, name, mode, is_allowed):
    paths = {x: tmp_path / x for x in ("up", "link", "target")}
    for path in paths.values():
        path.mkdir()
    (paths["target"] / "down" / "mine").mkdir(parents=True)
    (paths["link"] / "mine").symlink_to(paths["target"] / "down" / "mine")
    work = "up/x/y" if name == "up" else "link/mine"
    paths[name].chmod(mode)
    profile = make_profile(work_dir=str(tmp_path / work))
    if is_allowed:
        Device(LocalSession(), profile).work_dir()
    else:
        with pytest.raises(CommandError, match=rf"others may write to {paths[name]}, so"):
            Device(LocalSession(), profile).work_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_only_a_group_of_the_user_s_own_may_write(make_profile, tmp_path):
    folder = tmp_path / "device"
    folder.mkdir()
    folder.chmod(0o775)  # as with umask 002, where each user has a group
    Device(LocalSession(), make_profile()).work_dir()
    os.chown(folder, 0, 12345)
    with pytest.raises(CommandError, match="others may write to /"):
        Device(LocalSession(), make_profile()).work_dir()
    folder.chmod(0o755)
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(CommandError, match=f"{tmp_path} belongs to another user"):
        Device(LocalSession(), make_profile()).work_dir()


def test_what_lies_above_the_home_folder_is_not_looked_at(make_profile, tmp_path, monkeypatch):
    (tmp_path / "homes" / "me").mkdir(parents=True)
    (tmp_path / "homes").chmod(0o777)
    monkeypatch.setenv("HOME", str(tmp_path / "homes" / "me"))
    Device(LocalSession(), make_profile(work_dir="~/x")).work_dir()
    (tmp_path / "homes" / "me").chmod(0o777)
    with pytest.raises(CommandError, match=r"others may write to .*/homes/me, so"):
        Device(LocalSession(), make_profile(work_dir="~/x")).work_dir()


def test_nothing_is_stored_through_a_planted_link(make_profile, session, tmp_path):
    profile = make_profile()
    folder, victim = Path(profile.work_dir), tmp_path / "victim"
    for path in (folder, victim):
        path.mkdir()
    folder.chmod(0o777)
    for name in ("agents", "jobs"):
        (folder / name).symlink_to(victim)
    for call in (
        lambda: probe(Device(session, profile)),
        lambda: AgentJob(Device(session, profile), "job").add("a", b"model"),
    ):
        with pytest.raises(CommandError, match="others may write to /"):
            call()
    assert list(victim.iterdir()) == []


def test_the_work_folder_is_looked_at_once_a_session(make_profile):
    commands = []

    class Recorded(LocalSession):
        def run(self, command, timeout_s=None):
            commands.append(command)
            return super().run(command, timeout_s)

    session = Recorded()
    for _ in range(2):
        Device(session, make_profile()).python_path()
    assert ["mkdir" in command for command in commands] == [True, False, False]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_work_folder_of_another_user_is_refused(make_profile):
    profile = make_profile()
    folder = Path(profile.work_dir)
    planted = folder / "venv" / "bin" / "python"
    planted.parent.mkdir(parents=True)
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    os.chown(folder, 12345, 12345)
    with pytest.raises(CommandError, match=r"belongs to another user .*another work_dir") as told:
        Device(LocalSession(), profile).python_path()
    assert "chmod" not in str(told.value)  # which the owner alone could do
