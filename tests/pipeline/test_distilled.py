"""The file of distilled examples, as it is read."""

from pathlib import Path

import pytest

from mosdeploy.errors import StaleInputError
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
