"""Which Python of a device is run, from where, and what is not run."""

import os
import sys
from pathlib import Path

import pytest

from mosdeploy.devices.interpreter import python_path, run_python, work_dir
from mosdeploy.devices.local import LocalSession
from mosdeploy.errors import CommandError, ConfigError


def test_the_work_folder_is_absolute(make_profile):
    session = LocalSession()
    assert work_dir(session, make_profile(work_dir="~/x/")) == f"{Path.home()}/x"
    with pytest.raises(ConfigError, match="must begin with '/' or '~/', got 'x'"):
        work_dir(session, make_profile(work_dir="x"))


@pytest.mark.parametrize("path", ["~/", "~//.", "~/x/..", "/", "//", str(Path.home()), "/x/../"])
def test_the_work_folder_is_not_the_user_s(make_profile, path):
    with pytest.raises(ConfigError, match=f"must be a folder of mosdeploy's own, .*got '{path}'"):
        work_dir(LocalSession(), make_profile(work_dir=path))


def test_python_of_the_environment_comes_first(make_profile):
    profile = make_profile()
    assert python_path(LocalSession(), profile) == sys.executable
    venv = Path(profile.work_dir) / "venv" / "bin" / "python"
    venv.parent.mkdir(parents=True)
    venv.write_text("#!/bin/sh\necho the environment\n")
    venv.chmod(0o755)
    assert python_path(LocalSession(), profile) == "the environment"


def test_modules_of_the_current_folder_are_not_run(make_profile, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("print('planted')")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    for python in (sys.executable, "bin/python"):
        profile = make_profile(python=python)
        result = run_python(LocalSession(), profile, "-m planted")
        assert result.returncode == 1
        assert "No module named planted" in result.stderr
        found = run_python(LocalSession(), profile, "-c 'import os; print(os.getcwd())'")
        assert found.stdout == "/\n"


def test_a_work_folder_that_others_write_to_is_refused(make_profile):
    profile = make_profile()
    folder = Path(profile.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for mode in (0o700, 0o775):
        folder.chmod(mode)
        assert run_python(LocalSession(), profile, "-c pass").returncode == 0
    folder.chmod(0o777)
    with pytest.raises(CommandError, match="everybody may write to it"):
        run_python(LocalSession(), profile, "-c pass")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_work_folder_of_another_user_is_refused(make_profile):
    profile = make_profile()
    folder = Path(profile.work_dir)
    planted = folder / "venv" / "bin" / "python"
    planted.parent.mkdir(parents=True)
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    os.chown(folder, 12345, 12345)
    with pytest.raises(CommandError, match="belongs to another user"):
        python_path(LocalSession(), profile)
