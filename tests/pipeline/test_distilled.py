"""The file of distilled examples, as it is read, and the processes that answer."""

import os
from pathlib import Path

import pytest

from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline import distill
from mosdeploy.pipeline.distilled import read_answered


def test_answers_are_found_by_their_chunk(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    assert read_answered(path) == (None, {})
    lines = ['{"inputs_sha256": "a"}', '{"chunk": 1, "examples": [["one", "eins"]]}']
    path.write_text("\n".join(lines) + "\n")
    assert read_answered(path) == ("a", {1: [["one", "eins"]]})


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
