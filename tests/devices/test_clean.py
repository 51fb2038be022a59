"""What is no longer needed goes, what is in use stays."""

import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest
from deploying import SLOT
from watching import other_agent

from mosdeploy.devices.clean import find_leftovers, remove_leftovers
from mosdeploy.devices.deploy import roll_back
from mosdeploy.devices.on_device import clean as script
from mosdeploy.errors import CommandError, DeviceBusyError


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
        found = find_leftovers(device, **options)
        return {x.path: (x.what, x.size_bytes) for x in found if not x.path.startswith("agents/")}

    return list_


def remove_all(device, **options):
    remove_leftovers(device, **options)


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
    find_leftovers(device)  # stores the scripts there
    before = disk_bytes(work)
    found = find_leftovers(device, with_earlier=with_earlier)
    assert {x.path: x.size_bytes for x in found if x.what == "version"} == {
        f"bundles/en-de/{unused}": 10_000,
        f"bundles/en-fr/{unused}": 1_000_000,
        **({f"bundles/en-de/{earlier}": 100} if with_earlier else {}),
    }
    remove_leftovers(device, with_earlier=with_earlier)
    assert sum(x.size_bytes for x in found) == before - disk_bytes(work) > 1_000_000


@pytest.mark.slow
def test_versions_go_that_nothing_goes_back_to(put, device, bundles, listed):
    for name in ("one", "two"):
        put(name, tokenizer=f"good {name}")
    with pytest.raises(CommandError, match="self-test failed"):
        put("bad", tokenizer="bad")
    (bundles / "notes").mkdir()
    (unused,) = listed()
    assert unused.startswith(f"bundles/{SLOT.name}/")
    remove_all(device)
    assert len(list(bundles.glob("*-*"))) == 2
    roll_back(device, SLOT)
    assert len(listed()) == len(listed(with_earlier=True)) == 1  # `two` was given up
    put("two", tokenizer="good two")
    assert (len(listed()), len(listed(with_earlier=True))) == (0, 1)
    remove_all(device, with_earlier=True)
    assert [path.name for path in bundles.glob("*-*")] == [(bundles / "current").readlink().name]
    assert (bundles / "notes").is_dir()


def test_a_device_that_measures_is_not_cleaned(work, device):
    with other_agent(work) as pid, pytest.raises(DeviceBusyError, match=f"pid {pid}"):
        remove_all(device)
    with (work / "agent.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert script.remove(work, "no") == {"error": "a measurement has begun meanwhile"}


def test_what_cannot_be_removed_is_not_told_as_removed(work, monkeypatch):
    # as of another user
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(Path, "unlink", not_permitted)
    assert script.remove(work, "no") == {"leftovers": []}


def not_permitted(*_):
    raise PermissionError


def test_a_device_with_nothing_on_it(device, listed):
    assert listed() == {}
