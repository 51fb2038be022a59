"""The runtime gets onto a device that has none, with or without internet."""

import fcntl
import os
import sys
import time
import zipfile
from pathlib import Path

import pytest
from watching import other_agent

from mosdeploy.devices import setup as room
from mosdeploy.devices.connect import LocalSession, open_session
from mosdeploy.devices.device import Device
from mosdeploy.devices.on_device import slots as script
from mosdeploy.devices.on_device import take_lock
from mosdeploy.devices.probe import probe
from mosdeploy.devices.setup import clean, setup
from mosdeploy.errors import CommandError, CommandTimeoutError, DeviceBusyError
from mosdeploy.records import DeviceState


def write_wheel(folder, name, *requires, version="1.0", tag="py3-none-any"):
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "answer = 42\n")
        wheel.writestr(f"{info}/METADATA", "\n".join([*lines, ""]))
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


def failing_venv(path, python, message):
    """A Python that makes no virtual environments."""
    fail = f'[ "$2" = venv ] && {{ echo "{message}"; exit 1; }}'
    path.write_text(f'#!/bin/sh\n{fail}\nexec {python} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_a_device_that_has_everything_is_left_alone(make_profile):
    profile = make_profile()
    assert setup(Device(LocalSession("dev"), profile)) == sys.executable
    assert not (Path(profile.work_dir) / "venv").exists()


@pytest.mark.slow
def test_wheels_are_sent_to_a_device_without_internet(
    make_profile, double, client_files, bare_python, tmp_path, monkeypatch
):
    write_wheel(tmp_path / "index", "tiny_runtime", tag="py3-none-manylinux_2_28_x86_64")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    double.environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"  # nobody listens there
    said = []
    profile = make_profile(
        "ssh",
        python=bare_python,
        requirements=("tiny_runtime",),
        wheel_platform="manylinux_2_28_x86_64",
    )
    with open_session(profile, client_files.config) as session:
        python = setup(Device(session, profile), said.append)
        assert python == f"{profile.work_dir}/venv/bin/python"
        command = [python, "-c", "import tiny_runtime; print(tiny_runtime.answer)"]
        assert session.run(command).stdout == "42\n"
        # From now on the environment is the Python that is probed.
        assert probe(Device(session, profile)).packages == {"tiny_runtime": "1.0"}
    assert any("sending wheels" in line for line in said)


@pytest.fixture
def quick_setup(device, make_profile, monkeypatch):
    """Sets a device up, with an environment that is a script, and gives what its Python says."""
    state = DeviceState(python_version="3.11.2")
    monkeypatch.setattr(room, "refuse_if_busy", lambda *_: None)
    monkeypatch.setattr(room, "probe", lambda *_: state)
    folder = Path(make_profile().work_dir)

    def run(name, install=lambda *_: None, requirements=("numpy", "onnxruntime")):
        def make_venv(device, venv):
            python = Path(venv) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text(
                f'#!/bin/sh\n[ "$1" = -c ] && echo {name} && exit\nexec {sys.executable} "$@"\n'
            )
            python.chmod(0o755)

        monkeypatch.setattr(room, "_make_venv", make_venv)
        monkeypatch.setattr(room, "_pip_install", install)
        assert setup(Device(LocalSession("dev"), make_profile(requirements=requirements))) == name
        return sorted(path.name for path in folder.iterdir() if "venv" in path.name)

    return run


def test_an_environment_is_switched_to_when_it_is_whole(quick_setup, device):
    def interrupted(*_):
        raise KeyboardInterrupt

    def too_slow(*_):
        raise CommandTimeoutError("pip did not end within 1800 s")

    first = quick_setup("old")
    for name, install in (("a", interrupted), ("b", too_slow)):
        with pytest.raises((KeyboardInterrupt, CommandTimeoutError)):
            quick_setup(name, install)
        assert device.python_path() == "old"
    second = quick_setup("new")
    assert len(first) == len(second) == len({*first, *second}) - 1 == 2


def test_of_two_setups_at_once_one_is_told_to_go_again(quick_setup, device):
    with pytest.raises(CommandError, match="another setup"):
        quick_setup("slow", lambda *_: quick_setup("quick") and None)
    assert device.python_path() == "quick"


def test_no_environment_is_switched_under_a_measurement(quick_setup, device, make_profile):
    quick_setup("before")
    begun = []
    # what an agent holds
    with pytest.raises(CommandError, match="measurement has begun"):
        quick_setup("after", lambda *_: begun.append(take_lock(Path(make_profile().work_dir))))
    begun[0].close()
    assert device.python_path() == "before"


def test_what_other_run_folders_asked_for_is_installed_again(quick_setup, make_profile):
    asked = []

    def install(session, venv, options, requirements):
        asked.append(requirements)

    quick_setup("a", install, ("numpy", "onnxruntime", "sentencepiece>=0.2.2"))
    venv = Path(make_profile().work_dir) / "venv"
    with (venv / "requirements.txt").open("a") as file:
        # what no requirement is, is no option of pip
        file.write("\n--index-url=http://elsewhere\nevil @ http://elsewhere\nonnxruntime-gpu\n")
    quick_setup("b", install, ("numpy>=2", "onnxruntime", "tokenizers"))
    assert asked[1] == ("numpy>=2", "onnxruntime", "tokenizers", "sentencepiece>=0.2.2")
    quick_setup("c", install, ("numpy", "onnxruntime"))
    assert set(asked[2]) == {"numpy", "onnxruntime", "tokenizers", "sentencepiece>=0.2.2"}


def test_a_full_disk_is_told_before_anything_is_made(quick_setup, monkeypatch):
    monkeypatch.setattr(room, "NEEDED_BYTES", 1 << 62)
    full = DeviceState(python_version="3.11.2", disk_free_bytes=1 << 20)
    monkeypatch.setattr(room, "probe", lambda *_: full)
    with pytest.raises(CommandError, match=r"disk full: .* free; free some space"):
        quick_setup("a")


def test_a_runtime_that_cannot_be_imported_leaves_the_environment_before(
    quick_setup, device, monkeypatch
):
    quick_setup("a")

    def broken(session, venv, options, requirements):
        error = "libonnxruntime.so: failed to map segment from shared object"
        (Path(venv) / "bin" / "python").write_text(f"#!/bin/sh\necho {error} >&2\nexit 1\n")

    with pytest.raises(CommandError, match="noexec"):
        quick_setup("b", broken)
    assert device.python_path() == "a"


def test_wheels_that_arrived_before_are_kept(make_profile, tmp_path, monkeypatch):
    def download(words):
        for name in ("one-1.whl", "two-1.whl"):
            Path(words[1], name).write_bytes(name.encode())

    monkeypatch.setattr(room, "_pip_download", download)
    wheels_dir = tmp_path / "work" / "wheels"
    wheels_dir.mkdir(parents=True)
    for name in ("one-0.whl", "one-1.whl", "two-1.whl.0123456789abcdef.part"):
        (wheels_dir / name).write_bytes(b"")
    state = DeviceState(python_version="3.11.2", machine="x86_64")
    put = []
    session = LocalSession("dev")
    monkeypatch.setattr(session, "put", lambda local, remote: put.append(remote))
    room._send_wheels(Device(session, make_profile()), str(wheels_dir.parent), state)
    assert sorted(path.name for path in wheels_dir.iterdir()) == [
        "one-1.whl",
        "two-1.whl.0123456789abcdef.part",
    ]
    assert put == [f"{wheels_dir}/one-1.whl", f"{wheels_dir}/two-1.whl"]


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Goes to a folder with modules that tell that they ran, and gives the names of those."""
    folder = tmp_path / "current"
    folder.mkdir()
    for name in ("pip", "venv", "shutil"):
        ran = tmp_path / f"ran-{name}"
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\nraise SystemExit(3)\n")
    monkeypatch.chdir(folder)
    return lambda: [path.name for path in tmp_path.glob("ran-*")]


def test_nothing_planted_in_the_current_folder_runs(device, make_profile, planted, tmp_path):
    # venv refuses a path with a colon at once, which takes less time than to make one
    with pytest.raises(CommandError, match="could not make /nowhere:"):
        room._make_venv(device, "/nowhere:")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    error = room._pip_install(device.session, str(tmp_path / "venv"), "--no-index", ("nothing",))
    # PEP 668: what Debian's own Python answers
    assert any(x in error for x in ("nothing", "No module named pip", "PEP 668"))
    profile = make_profile(requirements=("./nothing.whl",), wheel_python="3.11")
    with pytest.raises(CommandError, match=r"no wheels for Python 3\.11"):
        room._send_wheels(Device(device.session, profile), "/device", DeviceState())
    assert planted() == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ensurepip is not available", "sudo apt-get install python3-venv"),
        ("ensurepip failed: no space left", r"could not make .*/venv-\w+: .*no space left"),
    ],
)
def test_why_no_environment_could_be_made(make_profile, bare_python, tmp_path, said, told):
    python = failing_venv(tmp_path / "python", bare_python, said)
    with pytest.raises(CommandError, match=told):
        setup(Device(LocalSession("dev"), make_profile(python=python)))


def test_platform_tags_follow_the_profile_then_the_machine(make_profile):
    state = DeviceState(machine="aarch64")
    assert room._platforms(make_profile("ssh"), state)[0] == "manylinux_2_28_aarch64"
    profile = make_profile("ssh", wheel_platform="manylinux_2_28_x86_64")
    assert room._platforms(profile, state)[0] == "manylinux_2_28_x86_64"
    assert room._platforms(make_profile("ssh", wheel_platform="macosx_11_0_arm64"), state) == (
        "macosx_11_0_arm64",
    )


@pytest.fixture
def work(make_profile):
    """A work folder in which mosdeploy has been busy."""
    folder = Path(make_profile().work_dir)
    for path, size in (
        ("jobs/one/results.jsonl", 1000),
        ("jobs/one/job.json", 0),
        ("agents/agent-123/agent.py", 200),
        ("weights/uniform-4.bin", 4),
        ("wheels/numpy.whl", 30),
        ("venv-1/bin/python3", 5),
        ("venv-2/bin/python3", 5),
        ("my-notes", 7),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(bytes(size))
    (folder / "venv").symlink_to("venv-2")
    make_old(folder)
    return folder


def make_old(folder):
    """As if its files had come two hours ago."""
    long_ago = time.time() - 2 * script.RECENT_S
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)


@pytest.fixture
def listed(device):
    def list_(**options):
        found = clean(device, **options)
        return {x.path: (x.what, x.size_bytes) for x in found if not x.path.startswith("agents/")}

    return list_


def remove_all(device, **options):
    clean(device, remove=True, **options)


def test_jobs_weights_wheels_and_old_environments_go(work, device, listed, monkeypatch):
    assert listed() == {
        "jobs/one": ("job", 1000),
        "weights/uniform-4.bin": ("weights", 4),
        "wheels": ("wheels", 30),
        "venv-1": ("environment", 5),
    }
    remove_all(device)
    assert listed() == {}
    assert not (work / "agents" / "agent-123").exists()
    assert (work / "venv" / "bin" / "python3").exists()
    assert (work / "my-notes").exists()


@pytest.mark.parametrize(
    "newest", ["jobs/one/candidates/a.onnx", "venv-1/bin/python", "wheels/numpy.whl"]
)
def test_what_changed_within_the_hour_stays(work, device, listed, newest):
    """A job whose models are being uploaded, an environment that is being made."""
    path = work / newest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    name = "/".join(Path(newest).parts[: 2 if "jobs" in newest else 1])
    assert name not in listed()
    remove_all(device)
    assert path.exists()
    make_old(work / name)
    assert name in listed()


def disk_bytes(folder):
    """What the files of a folder take, whatever links there are to them."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({path.stat().st_ino: path.stat().st_size for path in files}.values())


@pytest.mark.parametrize("with_earlier", [False, True])
def test_what_is_listed_is_what_becomes_free(work, device, with_earlier):
    (work / "jobs" / "one" / "weights.bin").hardlink_to(work / "weights" / "uniform-4.bin")
    (work / "venv-2" / "kept").write_bytes(bytes(11))
    (work / "venv-1" / "kept").hardlink_to(work / "venv-2" / "kept")
    (work / "venv-1" / "python").symlink_to(work / "my-notes")
    make_old(work / "venv-1")
    bundles = work / "bundles"
    earlier, unused, current = (f"{x * 16}-{x * 8}" for x in "123")
    shared = work / "shared"  # by all versions, the current one, too
    shared.write_bytes(bytes(70))
    for version, size in (
        (bundles / "en-de" / current, 1),
        (bundles / "en-de" / earlier, 100),
        (bundles / "en-de" / unused, 10_000),
        (bundles / "en-fr" / unused, 1_000_000),
    ):
        version.mkdir(parents=True)
        (version.parent / ".lock").touch()
        (version / "own").write_bytes(bytes(size))
        (version / "shared").hardlink_to(shared)
    shared.unlink()
    (bundles / "en-fr" / unused / "copy").hardlink_to(bundles / "en-fr" / unused / "own")
    (bundles / "en-de" / earlier / "deployment.json").touch()
    (bundles / "en-de" / "history").write_text(f"{earlier}\n{current}\n")
    (bundles / "en-de" / "current").symlink_to(current)
    clean(device)  # stores the scripts there
    before = disk_bytes(work)
    found = clean(device, with_earlier=with_earlier)
    assert {x.path: x.size_bytes for x in found if x.what == "version"} == {
        f"bundles/en-de/{unused}": 10_000,
        f"bundles/en-fr/{unused}": 1_000_000,
        **({f"bundles/en-de/{earlier}": 100} if with_earlier else {}),
    }
    clean(device, remove=True, with_earlier=with_earlier)
    assert sum(x.size_bytes for x in found) == before - disk_bytes(work) > 1_000_000


def test_a_device_that_measures_is_not_cleaned(work, device):
    with other_agent(work) as pid, pytest.raises(DeviceBusyError, match=f"pid {pid}"):
        remove_all(device)
    with (work / "agent.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert script.remove(work, "no") == {"error": "a measurement has begun meanwhile"}
