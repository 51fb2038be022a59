"""Profiles are found by name, the nearest folder first, and their files are checked."""

from pathlib import Path

import pytest

from mosdeploy.config.device import (
    DeviceProfile,
    list_profiles,
    load_profile,
    with_host,
)
from mosdeploy.errors import ConfigError
from mosdeploy.record import parse


@pytest.fixture(autouse=True)
def no_user_profiles(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_shipped_devices_load(tmp_path):
    names = [profile.name for profile in list_profiles(tmp_path)]
    assert {"local", "rpi", "titanxp", "xeon"} <= set(names)
    assert load_profile("local", tmp_path).kind == "local"
    assert load_profile("rpi", tmp_path).host == "rpi"
    assert load_profile("titanxp", tmp_path).provider == "CUDAExecutionProvider"


def test_the_run_folder_wins_then_the_user_then_what_is_shipped(tmp_path):
    user = tmp_path / "config" / "mosdeploy" / "device_profiles"
    write(user, "rpi", 'name = "rpi"\nhost = "of-the-user"\n')
    assert load_profile("rpi", tmp_path).host == "of-the-user"
    write(tmp_path / "device_profiles", "rpi", 'name = "rpi"\nhost = "of-the-run"\n')
    assert load_profile("rpi", tmp_path).host == "of-the-run"
    assert [x.host for x in list_profiles(tmp_path) if x.name == "rpi"] == ["of-the-run"]


def test_an_unknown_device_names_the_known_ones(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown device 'rpj'; did you mean 'rpi.*: jetson-orin, local, rpi, "
    ):
        load_profile("rpj", tmp_path)
    with pytest.raises(ConfigError, match="unknown device"):
        load_profile("../device_profiles/rpi", tmp_path)


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path):
    path = write(tmp_path / "device_profiles", "x", 'name = "x"\nhots = "x"\n')
    with pytest.raises(ConfigError, match=r"x\.toml: unknown key 'hots'; did you mean 'host'\?"):
        load_profile("x", tmp_path)
    path.write_text('name = "x"\n[measure]\nmin_repeats = 3\n')
    with pytest.raises(ConfigError, match=r"'measure\.min_repeats'"):
        list_profiles(tmp_path)


def test_a_name_that_is_not_the_files_is_refused(tmp_path):
    write(tmp_path / "device_profiles", "x", 'name = "y"\n')
    with pytest.raises(ConfigError, match=r"must equal the name of the file, 'x', got 'y'"):
        load_profile("x", tmp_path)


def test_another_board_of_the_kind_differs_by_its_host_alone(tmp_path):
    profile = load_profile("rpi", tmp_path)
    other = with_host(profile, "pi2")
    assert (other.host_alias, other.cli_name) == ("pi2", "rpi@pi2")
    assert other.model_copy(update={"host": "rpi"}) == profile
    assert (profile.host_alias, profile.cli_name) == ("rpi", "rpi")
    with pytest.raises(ConfigError, match="device 'rpi' on 'pi 2': 'host'"):
        with_host(profile, "pi 2")
    with pytest.raises(ConfigError, match="'local' is this machine"):
        with_host(load_profile("local", tmp_path), "pi2")


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"measure": {"min_repeats": 9}}, "measure.min_repeats"),
        ({"command_timeout_s": 1e9}, "command_timeout_s"),
        ({"precisions": []}, "precisions"),
    ],
)
def test_value_out_of_range_names_its_key(data, key):
    with pytest.raises(ConfigError, match=f"'{key}'"):
        parse(DeviceProfile, {"name": "rpi", **data}, "devices/x.toml")


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("measure.min_repeats = 300", "min_repeats"),
        ("measure.candidate_timeout_s = 1e9", "candidate_timeout_s"),
        ('kind = "local"\nhost = "pi"', "leave host out"),
        ('python = " "', "python is empty"),
        ('work_dir = "mosdeploy"', "work_dir"),
        ('work_dir = "/"', "work_dir"),
        ('work_dir = "/srv/a\\nb"', "work_dir"),
        ('requirements = ["numpy", " "]', "' ' is no package"),
        ('requirements = ["-r x.txt"]', "'-r x.txt' is no package"),
    ],
)
def test_what_no_device_has_is_refused(tmp_path, lines, word):
    write(tmp_path / "device_profiles", "x", f'name = "x"\n{lines}\n')
    with pytest.raises(ConfigError, match=rf"x\.toml: .*{word}"):
        load_profile("x", tmp_path)
