"""`mosdeploy devices`: what needs no device."""

import json
from pathlib import Path

from command_line import mosdeploy

NAMES = ["local", "rpi", "titanxp", "xeon"]


def test_list_and_show(tmp_path: Path) -> None:
    listed = mosdeploy("devices", "list", cwd=tmp_path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == NAMES
    shown = mosdeploy("devices", "show", "rpi", cwd=tmp_path)
    assert json.loads(shown.stdout)["host"] == "rpi"


def test_list_as_json_has_whole_profiles(tmp_path: Path) -> None:
    listed = json.loads(mosdeploy("devices", "list", "--json", cwd=tmp_path).stdout)
    assert [profile["name"] for profile in listed["devices"]] == NAMES
    assert all("measure" in profile for profile in listed["devices"])


def test_a_profile_in_the_run_folder_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "device_profiles"
    folder.mkdir()
    (folder / "rpi.toml").write_text('name = "rpi"\nhost = "kitchen"\n')
    done = mosdeploy("devices", "show", "rpi", cwd=tmp_path)
    assert json.loads(done.stdout)["host"] == "kitchen"


def test_check_of_this_machine_tells_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "device_profiles"
    folder.mkdir()
    (folder / "local.toml").write_text(
        'name = "local"\nkind = "local"\nrequirements = ["no-such-package"]\n'
        f'work_dir = "{tmp_path / "work"}"\n'
    )
    done = mosdeploy("devices", "check", "local", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "missing: " in done.stdout
    assert "no-such-package" in done.stdout
    checked = json.loads(mosdeploy("devices", "check", "local", "--json", cwd=tmp_path).stdout)
    assert any(problem["blocking"] for problem in checked["problems"])
