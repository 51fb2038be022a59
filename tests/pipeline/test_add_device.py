"""A profile for a new board, from a look at it."""

import contextlib
import platform
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openssh import SSHD, OpenSSHServer, SSHClientFiles
from walking import make_run_folder

from mosdeploy.config.device import DeviceProfile, load_profile
from mosdeploy.config.lookup import shipped_dir
from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.probe import llvm_cpu
from mosdeploy.errors import ConfigError, ConnectError
from mosdeploy.pipeline.add_device import add_device, profile_text
from mosdeploy.record import parse
from mosdeploy.records import DeviceState

PI = DeviceState(
    machine="aarch64",
    cpu_model="Raspberry Pi 5 Model B Rev 1.0",
    cores=4,
    memory_bytes=8_000_000_000,
    disk_free_bytes=40_000_000_000,
    load_1min=0.1,
    python_version="3.11.2",
    packages={"numpy": "2.0", "onnxruntime": "1.20"},
    providers=("CPUExecutionProvider",),
)


def profile(state: DeviceState) -> DeviceProfile:
    return parse(DeviceProfile, tomllib.loads(profile_text("new", "board", state)), "new")


def test_a_profile_says_what_was_found() -> None:
    found = profile(PI)
    assert (found.name, found.host_alias, found.kind) == ("new", "board", "ssh")
    assert (found.machine, found.llvm_cpu) == ("aarch64", "cortex-a76")
    assert found.description == "Raspberry Pi 5 Model B Rev 1.0, 7.5 GiB"
    assert found.requirements == ("numpy", "onnxruntime")
    assert found.measure.rounds == 1
    text = profile_text("new", "board", PI)
    for reason in ("3.11.2 there", "onnxruntime 1.20 is there", "37.3 GiB are free", "4 cores"):
        assert f"{reason}\n" in text


def test_a_gpu_and_a_busy_board_are_seen() -> None:
    gpu = PI.model_copy(
        update={
            "cpu_model": "NVIDIA Jetson Orin Nano",
            "providers": ("CUDAExecutionProvider", "CPUExecutionProvider"),
            "packages": {"onnxruntime-gpu": "1.20"},
            "load_1min": 2.0,
        }
    )
    found = profile(gpu)
    assert found.provider == "CUDAExecutionProvider"
    assert found.requirements == ("numpy", "onnxruntime-gpu")
    text = profile_text("new", "board", gpu, "CUDAExecutionProvider does not work:\nno device")
    without = parse(DeviceProfile, tomllib.loads(text), "new")
    assert without.provider == "CPUExecutionProvider"
    assert without.requirements == found.requirements
    assert "# CUDAExecutionProvider does not work: no device\n" in text
    assert (found.llvm_cpu, found.measure.rounds) == ("cortex-a78", 3)


def test_a_board_that_tells_nothing_has_a_profile_too() -> None:
    found = profile(DeviceState())
    assert (found.machine, found.llvm_cpu, found.wheel_platform) == (None, None, None)
    assert "NOT found there" in profile_text("new", "board", DeviceState())


@pytest.mark.parametrize(
    ("features", "name"),
    [
        (("avx2", "avx512_vnni"), "cascadelake"),
        (("avx2", "avx_vnni"), "alderlake"),
        (("avx2", "fma"), "x86-64-v3"),
        (("avx",), None),
    ],
)
def test_processors_of_x86_are_told_by_their_extensions(
    features: tuple[str, ...], name: str | None
) -> None:
    assert llvm_cpu(DeviceState(machine="x86_64", cpu_features=features)) == name


def test_a_profile_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "device_profiles" / "pi5.toml"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"pi5\.toml exists already; edit it, or choose another"):
        add_device(tmp_path, "pi5", "nowhere")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["../pi", "", "a b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        add_device(tmp_path, name, "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_no_board_takes_the_name_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'local' is this machine"):
        add_device(tmp_path, "local", "pi")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [None, "CUDAExecutionProvider does not work: no driver"])
def test_a_build_for_gpus_is_tried_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str | None
) -> None:
    def probe(device: Device) -> DeviceState:
        on_gpu = device.profile.provider == "CUDAExecutionProvider"
        found = {
            "machine": "x86_64",
            "packages": {"numpy": "2.0", "onnxruntime-gpu": "1.23"},
            "providers": ("CUDAExecutionProvider", "CPUExecutionProvider"),
            "provider_error": error if on_gpu else None,
        }
        return PI.model_copy(update=found)

    monkeypatch.setattr(
        "mosdeploy.pipeline.add_device.device_at",
        lambda profile, _: Device(LocalSession(), profile),
    )
    monkeypatch.setattr("mosdeploy.devices.job.refuse_if_busy", lambda *_: None)
    monkeypatch.setattr("mosdeploy.devices.probe.probe", probe)
    added = add_device(tmp_path, "new", "board")
    provider = "CPUExecutionProvider" if error else "CUDAExecutionProvider"
    assert load_profile("new", tmp_path).provider == provider
    # that there is no GPU is no problem of a profile for the CPU
    assert not [problem for problem in added.problems if problem.blocking]


def test_shipped_profiles_say_where_their_claims_are_from() -> None:
    paths = {path.stem: path for path in shipped_dir("device_profiles").glob("*.toml")}
    new = {"rpi4", "rpi5", "jetson-orin", "x86-64", "x86-64-vnni"}
    assert new <= paths.keys()
    for name in new:
        text = paths[name].read_text()
        assert "not measured by us" in text.lower()
        assert "documentation" in text or "NVIDIA, " in text or "Intel, " in text


# -- over a real server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    made: Any = OpenSSHServer(tmp_path / "sshd", SSHClientFiles(tmp_path / "client"))
    with contextlib.closing(made):
        made.start()
        yield made


@pytest.mark.ssh
@pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here")
def test_a_board_behind_ssh_is_looked_at_before_its_profile_is_written(
    server: Any, tmp_path: Path
) -> None:
    root = make_run_folder(tmp_path / "run")
    added = add_device(root, "pi5", "dev", server.files.config)
    assert added.path == str(root / "device_profiles" / "pi5.toml")
    assert added.state.machine == platform.machine()
    found = load_profile("pi5", root)
    assert (found.host, found.machine) == ("dev", platform.machine())
    # the Python of the server is not the one of these tests: what it lacks is told
    lacking = [x.what for x in added.problems if x.blocking]
    missing = {"numpy", "onnxruntime", "sentencepiece"} - added.state.packages.keys()
    assert bool(lacking) == bool(missing)
    with pytest.raises(ConfigError, match="exists already"):
        add_device(root, "pi5", "dev", server.files.config)


@pytest.mark.ssh
@pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here")
def test_a_board_that_is_not_reached_leaves_no_profile(server: Any, tmp_path: Path) -> None:
    root = make_run_folder(tmp_path / "run")
    server.files.write(1, server.host_key)
    with pytest.raises(ConnectError):
        add_device(root, "pi5", "dev", server.files.config)
    assert not (root / "device_profiles" / "pi5.toml").exists()
