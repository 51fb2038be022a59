"""The versions of a bundle on a device, by hand; how they get there is in test_deploy."""

import json

import pytest

from mosdeploy.devices.on_device import versions
from mosdeploy.storage import sha256_bytes


@pytest.fixture
def make_version(tmp_path):
    """Make a version with one file; `is_deployed`: it has passed its self-test."""

    def make(name, content="model", *, is_deployed=True):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_text(content)
        digest = sha256_bytes(content.encode())
        (folder / versions.SUMS_NAME).write_text(f"{digest}  file\n")
        if is_deployed:
            (folder / versions.RECORD_NAME).write_text("{}")
        return folder

    return make


def test_the_version_before_the_current_one_is_the_previous(tmp_path, make_version):
    assert versions.previous(tmp_path) == {"current": None, "previous": None}
    for name in ("one", "two"):
        make_version(name)
        assert versions.activate(tmp_path, name, "3") == {"removed": []}
    assert versions.previous(tmp_path) == {"current": "two", "previous": "one"}
    assert versions.rollback(tmp_path, "two", "one") == {}
    assert versions.rollback(tmp_path, "two", "one") == {}  # asked again, its answer was lost
    assert versions.previous(tmp_path) == {"current": "one", "previous": None}


def test_a_rollback_from_another_version_is_refused(tmp_path, make_version):
    for name in ("one", "two", "three"):
        make_version(name)
        versions.activate(tmp_path, name, "3")
    assert "changed meanwhile" in versions.rollback(tmp_path, "two", "one")["error"]
    assert versions.history(tmp_path) == ["one", "two", "three"]


def test_a_version_that_was_not_tested_never_becomes_current(tmp_path, make_version):
    make_version("one", is_deployed=False)
    assert "no longer whole" in versions.activate(tmp_path, "one", "3")["error"]
    assert versions.history(tmp_path) == []


def test_only_the_last_few_versions_are_kept(tmp_path, make_version):
    for name in ("one", "two", "three"):
        make_version(name)
        removed = versions.activate(tmp_path, name, "2")
    assert removed == {"removed": ["one"]}
    assert versions.history(tmp_path) == ["two", "three"]


def test_a_file_is_linked_from_any_version_that_has_it(tmp_path, make_version):
    first = make_version("one")
    second = make_version("two")
    (second / "file").unlink()
    assert versions.deduplicate(tmp_path, "two") == {"missing": []}
    assert (second / "file").samefile(first / "file")


def test_a_damaged_file_is_no_source(tmp_path, make_version):
    (make_version("one") / "file").write_text("damaged")
    (make_version("two") / "file").unlink()
    assert versions.deduplicate(tmp_path, "two") == {"missing": ["file"]}


def test_a_command_prints_one_line_of_json(tmp_path, capsys):
    versions.main("previous", str(tmp_path))
    assert json.loads(capsys.readouterr().out) == {"current": None, "previous": None}
