"""The file of distilled examples, as it is read, and the processes that answer."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mosdeploy.config.sections import TrainingData
from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline import distill
from mosdeploy.run_folder.distilled import Distilled, read_answered
from mosdeploy.storage import sha256_file


def test_answers_are_found_by_their_chunk(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    assert read_answered(path) == (None, {})
    lines = ['{"inputs_sha256": "a"}', '{"chunk": 1, "examples": [["one", "eins"]]}']
    path.write_text("\n".join(lines) + "\n")
    assert read_answered(path) == ("a", {1: [["one", "eins"]]})


@pytest.mark.parametrize(
    ("which", "examples"),
    [
        ("distilled", [("one", "eins"), ("two", "zwei")]),
        ("both", [("one", "eins"), ("one", "ein"), ("two", "zwei")]),
    ],
)
def test_equal_examples_are_read_once(
    tmp_path: Path, which: TrainingData, examples: list[tuple[str, str]]
) -> None:
    path = tmp_path / "examples.jsonl"
    lines = [
        '{"inputs_sha256": "a"}',
        '{"chunk": 0, "examples": [["one", "eins"]]}',
        '{"chunk": 1, "examples": [["one", "eins"], ["two", "zwei"]]}',
    ]
    path.write_text("\n".join(lines) + "\n")
    card: Any = SimpleNamespace(data_sha256="b", examples_sha256=sha256_file(path))
    run: Any = SimpleNamespace(workspace=SimpleNamespace(distilled_path=path))
    data: Any = SimpleNamespace(sha256="b", train=(("one", "eins"), ("one", "ein")))
    assert Distilled(which, card).examples(run, data) == examples


@pytest.mark.parametrize("text", ["{", "[]", "{}", "1", '{"inputs_sha256": "a"}\n{}', "[" * 10_000])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "distilled" / "examples.jsonl"
    path.parent.mkdir()
    path.write_text(f"{text}\n")
    message = r"examples\.jsonl is corrupt .*; delete .*distilled and run `mosdeploy distill` again"
    with pytest.raises(StaleInputError, match=message):
        read_answered(path)


def test_processes_are_counted_without_affinities_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= distill.num_cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    assert distill.num_cores() == (os.cpu_count() or 1)
