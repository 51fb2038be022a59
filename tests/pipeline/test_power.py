"""A cut of the power after a verb takes nothing that it made."""

import os
from pathlib import Path
from typing import Any

import pytest
from power import Disk
from walking import opened

from mosdeploy.storage import append_line, atomic_write, make_folder

VERBS = ("train", "profile", "search", "evaluate", "export", "deploy", "report")


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_made_is_on_the_disk(walk: Any, verb: str) -> None:
    assert walk.lost[verb] == []


def test_what_finetune_made_is_on_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(folder, ("*.lock",), monkeypatch)
    opened(folder).finetune(steps=2)
    assert list(folder.glob("subnets/*/subnet.json"))
    assert disk.lost() == []


def test_what_is_not_forced_to_the_disk_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").write_text("old")
    disk = Disk(tmp_path, ("*.lock",), monkeypatch)
    assert disk.lost() == []
    (tmp_path / "old").write_text("newer")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / ".x.lock").touch()
    assert disk.lost() == [
        "the content of folder/file",
        "the content of old",
        "the name folder",
        "the name folder/file",
    ]
    with (tmp_path / "folder" / "file").open("ab") as file:
        os.fsync(file.fileno())
    assert "the content of folder/file" not in disk.lost()
    assert "the name folder/file" in disk.lost()


def test_new_folders_and_files_are_on_the_disk_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, (), monkeypatch)
    make_folder(tmp_path / "a" / "b")
    append_line(tmp_path / "c" / "d" / "lines.jsonl", "one")
    append_line(tmp_path / "c" / "d" / "lines.jsonl", "two")
    atomic_write(tmp_path / "e" / "f" / "file", "content")
    make_folder(tmp_path / "a" / "b")
    assert disk.lost() == []
