"""`mosdeploy devices`: what needs no device."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import mosdeploy

from mosdeploy.cli import main
from mosdeploy.config.lookup import shipped_dir
from mosdeploy.records import DeviceState, Problem
from mosdeploy.run_folder.summaries import AddedDevice, DeviceCheck

NAMES = sorted(path.stem for path in shipped_dir("device_profiles").glob("*.toml"))


def test_list_and_show(tmp_path: Path) -> None:
    listed = mosdeploy("devices", "list", cwd=tmp_path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == NAMES
    shown = mosdeploy("devices", "list", "rpi", cwd=tmp_path)
    assert json.loads(shown.stdout)["host"] == "rpi"


@pytest.mark.slow
def test_check_of_this_machine_tells_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "device_profiles"
    folder.mkdir()
    (folder / "local.toml").write_text(
        'name = "local"\nkind = "local"\nrequirements = ["no-such-package"]\n'
        f'work_dir = "{tmp_path / "work"}"\n'
    )
    done = mosdeploy("devices", "check", "local", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "local: NOT ready\n\nto do first:\n  not installed: no-such-package" in done.stdout
    checked = json.loads(mosdeploy("devices", "check", "local", "--json", cwd=tmp_path).stdout)
    assert any(problem["blocking"] for problem in checked["problems"])


READY = DeviceCheck(
    device="rpi",
    state=DeviceState(
        machine="aarch64",
        cpu_model="Raspberry Pi 4",
        cores=4,
        memory_bytes=4_000_000_000,
        memory_available_bytes=3_000_000_000,
        temperature_c=48.2,
        load_1min=0.02,
        python_version="3.11.2",
        packages={"numpy": "2.0"},
    ),
    problems=(),
)


def test_a_board_that_is_ready_is_told_on_one_screen(ask: Callable[..., Any]) -> None:
    done = ask("devices.check_device", READY, "devices", "check", "rpi")
    assert done.stdout.splitlines() == [
        "rpi: ready to measure",
        "",
        "board     Raspberry Pi 4, aarch64, 4 cores",
        "room      2.8 GiB of 3.7 GiB of memory free",
        "now       48 degrees C, load 0.02",
        "software  Python 3.11.2, numpy 2.0",
    ]
    assert done.stderr == "next: mosdeploy profile --device rpi\n"
    done = ask("devices.check_device", READY, "devices", "check", "rpi@pi2")
    assert done.stderr == "next: mosdeploy profile --device rpi --hosts pi2\n"
    done = ask("devices.check_device", READY, "--ssh-config", "my ssh", "devices", "check", "rpi")
    assert done.stderr == "next: mosdeploy --ssh-config 'my ssh' profile --device rpi\n"
    Path("mosdeploy.toml").unlink()  # a profile needs one
    done = ask("devices.check_device", READY, "--ssh-config", "other", "devices", "check", "rpi")
    assert done.stderr == "next: mosdeploy --ssh-config other init --device rpi\n"
    done = ask("devices.check_device", READY, "devices", "check", "rpi")
    assert done.stderr == "next: mosdeploy init --device rpi\n"


def test_what_disturbs_is_told_with_its_cure(ask: Callable[..., Any]) -> None:
    hot = Problem(what="80 degrees C", fix="cool it", blocking=False)
    found = READY.model_copy(update={"problems": (hot,)})
    done = ask("devices.check_device", found, "devices", "check", "rpi")
    assert done.exit_code == 0
    assert done.stdout.startswith(
        "rpi: ready, but timing will be disturbed\n\n"
        "better for timing:\n  80 degrees C\n      cool it\n"
    )


def test_add_tells_what_it_wrote_and_what_comes_next(ask: Callable[..., Any]) -> None:
    lacking = Problem(
        what="not installed: numpy", fix="mosdeploy devices check pi5 --setup", blocking=True
    )
    added = AddedDevice(
        path="device_profiles/pi5.toml", device="pi5", state=READY.state, problems=(lacking,)
    )
    done = ask("add_device.add_device", added, "devices", "add", "pi5", "--host", "kitchen")
    assert done.arguments[1:3] == ("pi5", "kitchen")
    assert done.stdout.startswith("wrote device_profiles/pi5.toml\npi5: NOT ready\n")
    assert done.stderr == "next: mosdeploy devices check pi5 --setup\n"
    fine = added.model_copy(update={"problems": ()})
    done = ask("add_device.add_device", fine, "devices", "add", "pi5")
    assert done.stderr == "next: mosdeploy profile --device pi5\n"


def test_clean_lists_and_removes_only_if_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "device_profiles"
    folder.mkdir()
    work_dir = tmp_path / "work"
    (folder / "local.toml").write_text(f'name = "local"\nkind = "local"\nwork_dir = "{work_dir}"\n')
    (work_dir / "wheels").mkdir(parents=True)
    (work_dir / "wheels" / "x.whl").write_bytes(bytes(1_950_000))
    for path in (work_dir / "wheels", work_dir / "wheels" / "x.whl"):
        os.utime(path, (0, 0))  # what changed within the last hour stays
    monkeypatch.chdir(tmp_path)

    def clean(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["mosdeploy", "devices", "clean", "local", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        told = capsys.readouterr()
        assert ("devices clean local --yes" in told.err) == (not words)
        return told.out

    assert "wheels" in clean()
    listed = clean().splitlines()
    assert any(line.split()[:3] == ["wheels", "1.9", "MiB"] for line in listed)
    assert "local: 1.9 MiB in" in listed[-1]
    assert (work_dir / "wheels").exists()
    assert "removed" in clean("--yes")
    assert not (work_dir / "wheels").exists()
