"""The versions of a bundle on a device, by hand; how they get there is in test_deploy."""

import contextlib
import errno
import io
import json
import os
import shutil
import time

import pytest
from deploying import live
from faults import fail_everywhere, faults

from mosdeploy.devices import on_device
from mosdeploy.devices.on_device import slots
from mosdeploy.errors import MosdeployError
from mosdeploy.storage import sha256_bytes

__all__ = ["faults"]


@pytest.fixture
def folder(tmp_path):
    """A slot."""
    path = tmp_path / "bundles" / "en-de"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def make_version(folder):
    """Make a version with one file, named as deploying names it."""

    def make(content="model", slot=folder):
        sums = f"{sha256_bytes(content.encode())}  file\n"
        name = f"{sha256_bytes(content.encode())[:16]}-{sha256_bytes(sums.encode())[:8]}"
        (slot / name).mkdir(parents=True)
        (slot / name / "file").write_text(content)
        (slot / name / slots.SUMS_NAME).write_text(sums)
        return name

    return make


def activate(folder, name, keep="3"):
    return slots.activate(folder, name, keep, "{}")


def test_a_rollback_goes_to_the_version_before_the_current_one(folder, make_version):
    assert slots.previous(folder, "me", "no") == {"current": None, "previous": None}
    one = make_version("one")
    assert activate(folder, one) == {"removed": []}
    two = make_version("two")
    assert activate(folder, two) == {"removed": []}
    assert (folder / two / slots.RECORD_NAME).read_text() == "{}"
    assert slots.previous(folder, "me", "no") == {"current": two, "previous": one}
    assert slots.rollback(folder, two, one) == {}
    assert slots.rollback(folder, two, one) == {}  # asked again, its answer was lost
    assert slots.previous(folder, "me", "no") == {"current": one, "previous": None}


def test_a_rollback_from_another_version_is_refused(folder, make_version):
    names = []
    for content in ("one", "two", "three"):
        names.append(make_version(content))
        activate(folder, names[-1])
    assert "changed meanwhile" in slots.rollback(folder, names[1], names[0])["error"]
    (folder / names[1] / "file").write_text("damaged")
    assert "changed meanwhile" in slots.rollback(folder, names[2], names[1])["error"]
    assert slots.history(folder) == names


@pytest.mark.parametrize("lost", ["", "file", slots.SUMS_NAME])
def test_a_version_that_is_not_whole_never_becomes_current(folder, make_version, lost):
    one = make_version("one")
    activate(folder, one)
    two = make_version("two")
    path = folder / two / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "no longer whole" in activate(folder, two)["error"]
    assert slots.history(folder) == [one]
    assert (folder / two).exists() == bool(lost)  # the record makes no folder


def folder_with_versions(root):
    """Make three versions in a slot, `zero` that was current, `one` that is, `two` that is not
    yet; give their names.
    """
    folder = root / "bundles" / "en-de"
    names = []
    for name in ("zero", "one", "two"):
        content = json.dumps({"name": name})
        sums = f"{sha256_bytes(content.encode())}  bundle/manifest.json\n"
        names.append(f"{sha256_bytes(name.encode())[:16]}-{sha256_bytes(sums.encode())[:8]}")
        (folder / names[-1] / "bundle").mkdir(parents=True)
        (folder / names[-1] / "bundle" / "manifest.json").write_text(content)
        (folder / names[-1] / slots.SUMS_NAME).write_text(sums)
        if name != "two":
            activate(folder, names[-1])
    return names


def told(command, root, *arguments):
    """Run a command as a device does; what it says went wrong is raised."""
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer):
        on_device.main("slots", command, str(root / "bundles" / "en-de"), *arguments)
    if "error" in (found := json.loads(answer.getvalue())):
        raise MosdeployError(found["error"])


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_a_disk_that_fails_anywhere_leaves_a_whole_version_current(tmp_path, faults, verb):
    before = tmp_path / "before"
    zero, one, two = folder_with_versions(before)
    arguments = {"activate": (two, "3", "{}"), "rollback": (one, zero)}[verb]
    states = {
        "activate": {"one": [zero, one], "two": [zero, one, two]},
        "rollback": {"one": [zero, one], "zero": [zero]},
    }[verb]

    def check(root):
        folder = root / "bundles" / "en-de"
        assert slots.history(folder) == states[live(folder)]
        told(verb, root, *arguments)  # the same command again
        assert slots.history(folder) == list(states.values())[1]

    assert fail_everywhere(faults, before, lambda root: told(verb, root, *arguments), check) >= 2


def test_only_the_last_few_versions_are_kept(folder, make_version):
    names = []
    for content in ("one", "two", "three"):
        names.append(make_version(content))
        removed = activate(folder, names[-1], "2")
    assert removed == {"removed": names[:1]}
    assert slots.history(folder) == names[1:]


def test_a_version_that_another_command_works_at_is_spared(folder, make_version):
    first, second, third = (make_version(content) for content in ("one", "two", "three"))
    for name, owner in ((first, "pc:/one"), (second, "pc:/two")):
        assert slots.claim(folder, name, owner, "yes") == {}
    assert activate(folder, third) == {"removed": []}
    assert slots.release(folder, first) == {}
    assert activate(folder, third) == {"removed": [first]}
    long_ago = time.time() - slots.CLAIM_LASTS_S - 1  # its host was killed then
    os.utime(folder / second / slots.CLAIM_NAME, (long_ago, long_ago))
    assert activate(folder, third) == {"removed": [second]}


def test_a_claim_ends_what_a_cut_off_one_of_the_same_owner_left(folder, make_version):
    names = [make_version(content) for content in ("one", "two", "three")]
    owners = ("pc:/one", "pc:/two\nnew\udcff", "pc:/one")
    for name, owner in zip(names, owners, strict=True):
        assert slots.claim(folder, name, owner, "yes") == {}
    assert activate(folder, names[2]) == {"removed": [names[0]]}
    assert slots.claim(folder, names[2], owners[1], "yes") == {}
    assert activate(folder, names[2]) == {"removed": [names[1]]}


def test_the_user_s_own_folders_stay(folder, make_version):
    for name in ("notes", "copy-of-current"):
        (folder / name).mkdir()
        (folder / name / slots.SUMS_NAME).touch()
    activate(folder, make_version("one"), "1")
    assert (folder / "notes").is_dir()
    assert (folder / "copy-of-current").is_dir()


def test_a_slot_of_another_run_folder_is_refused(folder, make_version):
    name = make_version("one")
    assert slots.claim(folder, name, "pc:/one", "no") == {}
    for refused in (
        slots.claim(folder, name, "pc:/two", "no"),
        slots.previous(folder, "pc:/two", "no"),
    ):
        assert refused == {"owner": "pc:/one"}
    assert slots.claim(folder, name, "pc:/two", "yes") == {}  # the user named the slot
    assert slots.claim(folder, name, "pc:/one", "no") == {"owner": "pc:/two"}


def test_a_file_is_linked_from_any_version_that_has_it(folder, make_version):
    other = folder.parent / "en-fr"
    first, second = make_version("same", other), make_version("same")
    (folder / second / "file").unlink()
    assert slots.deduplicate(folder, second) == {"missing": []}
    assert (folder / second / "file").samefile(other / first / "file")


def test_what_is_damaged_is_no_source(folder, make_version):
    name = make_version("one")
    other = folder.parent / "en-fr" / make_version("one", folder.parent / "en-fr")
    (folder / name / "file").unlink()
    (other / "file").write_text("damaged")
    assert slots.deduplicate(folder, name) == {"missing": ["file"]}


def test_a_copy_that_a_full_disk_ends_leaves_nothing(folder, make_version, monkeypatch):
    make_version("one", folder.parent / "en-fr")
    name = make_version("one")
    (folder / name / "file").unlink()

    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(slots.os, "link", no_links)
    monkeypatch.setattr(slots.shutil, "copyfile", full)
    assert slots.deduplicate(folder, name) == {"missing": ["file"]}
    assert [path.name for path in (folder / name).iterdir()] == [slots.SUMS_NAME]


def test_a_version_is_on_the_disk_before_it_is_current_and_then_the_link(
    folder, make_version, monkeypatch
):
    one = make_version("one")
    activate(folder, one)
    two = make_version("two")
    seen = []

    def sync():
        current = (folder / "current").readlink().name
        names = (path.name for path in folder.iterdir())
        record = (folder / two / slots.RECORD_NAME).exists()
        seen.append((current, record, slots.history(folder), one in names))

    monkeypatch.setattr(slots.os, "sync", sync)
    activate(folder, two, keep="1")
    # the files, the record and the history are written; then the link; nothing is removed before
    assert seen == [(one, True, [one], True), (two, True, [two], True)]
    assert not (folder / one).exists()
