"""Devices by name: what is known of them, and what this machine lacks."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from walking import KeptProgress, edit, make_run_folder, opened
from watching import other_agent

from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.config.translation import TranslationRunConfig
from mosdeploy.errors import ConfigError, ConnectionLostError, DeviceBusyError
from mosdeploy.pipeline.train import dry_run, train
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import (
    check_device,
    list_devices,
    resolve_profile,
    run_profile,
    setup_device,
)
from mosdeploy.run_folder.run import open_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_run_folder(tmp_path / "run")


def test_a_run_folder_knows_its_own_and_the_shipped_devices(root: Path) -> None:
    names = [profile.name for profile in list_devices(root).devices]
    assert {"local", "rpi", "titanxp", "xeon"} <= set(names)
    assert len(names) == len(set(names))
    assert run_profile(root, "local").work_dir == str(root / "device")


def test_a_device_is_another_board_of_its_kind_by_host(root: Path) -> None:
    assert resolve_profile(root, "rpi", None) == run_profile(root, "rpi")
    board = resolve_profile(root, "rpi", "pi2")
    assert (board.name, board.host_alias) == ("rpi", "pi2")
    with pytest.raises(ConfigError, match="'local' is this machine, which has no host 'pi1'"):
        resolve_profile(root, "local", "pi1")


def test_a_device_that_measures_is_not_looked_at(root: Path) -> None:
    profile = run_profile(root, "local")
    with other_agent(profile.work_dir) as pid:
        with pytest.raises(DeviceBusyError, match=f"pid {pid}"):
            check_device(profile)
        with pytest.raises(DeviceBusyError, match=f"pid {pid}"):
            setup_device(profile)


def test_a_setup_that_was_cut_is_told_to_go_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> str:
        raise ConnectionLostError("pi: the connection was lost during uploading a.whl.part")

    monkeypatch.setattr("mosdeploy.devices.setup.setup", cut)
    with pytest.raises(ConnectionLostError, match=r"a\.whl\.part; run the same command again"):
        setup_device(resolve_profile(root, "local", None))


def test_what_a_family_needs_is_required_too(root: Path) -> None:
    alone = root.with_name("nothing")
    alone.mkdir()
    assert "sentencepiece" not in run_profile(alone, "rpi").requirements
    assert run_profile(root, "rpi").requirements == (
        "numpy",
        "onnxruntime",
        "sentencepiece>=0.2.2",
    )
    # a profile that asks for the same is left as it is
    path = root / "device_profiles" / "own.toml"
    path.write_text('name = "own"\nrequirements = ["sentencepiece>=0.2.2"]\n')
    assert run_profile(root, "own").requirements == ("sentencepiece>=0.2.2",)


def test_families_ask_for_what_mosdeploy_itself_asks_for() -> None:
    path = Path(__file__).parents[2] / "pyproject.toml"
    own = tomllib.loads(path.read_text())["project"]["dependencies"]
    for config in (TranslationRunConfig, EncoderRunConfig):
        assert set(config.packages) <= set(own)


@pytest.mark.parametrize("verb", [train, dry_run])
def test_a_device_that_is_mistyped_is_told_before_long_work(
    root: Path, verb: Callable[[Context], object]
) -> None:
    edit(root / "mosdeploy.toml", 'device = "local"', 'device = "rip"')
    progress = KeptProgress()
    with pytest.raises(
        ConfigError,
        match=r"device in mosdeploy\.toml: unknown device 'rip'; did you mean 'rpi'\? "
        r"known devices: .*local, rpi",
    ):
        verb(Context(open_run(root), progress))
    assert progress.messages == progress.updates == []


def test_status_tells_a_mistyped_device_first(root: Path) -> None:
    edit(root / "mosdeploy.toml", 'device = "local"', 'device = "rip"')
    found = opened(root).status()
    assert (found.parts[0].what, found.parts[0].name) == ("device", "rip")
    assert "did you mean 'rpi'?" in found.parts[0].detail
    assert found.next_command == "mosdeploy devices list"
    edit(root / "mosdeploy.toml", 'device = "rip"', 'device = "rpi"')
    assert opened(root).status().next_command == "mosdeploy train"
