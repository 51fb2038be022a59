"""Wrong input of an encoder as the command line tells it: one line, and nothing is written. The
files behind it have finer tests of their own.
"""

import json
import math
import sys
from pathlib import Path

import pytest
from encoder_walking import examples, make_encoder_folder, write_checkpoint
from walking import KeptProgress

import mosdeploy
from mosdeploy.cli import main
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run

LONG = "the film is bright " * 20


def told(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str = "train",
) -> str:
    """What `mosdeploy train`, or another verb, says when it refuses."""
    monkeypatch.setattr(sys, "argv", ["mosdeploy", *verb.split(), "--dir", str(root)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert not list(root.glob("supernet/*.safetensors")) + list(root.glob("teacher/*"))
    (line,) = [x for x in printed.err.splitlines() if x.startswith("error: ")]
    return line


def write_rows(root: Path, name: str, rows: list[dict[str, object]]) -> None:
    (root / "data" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("verb", ["profile", "train --dry-run"])
def test_a_space_without_its_checkpoint_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    write_checkpoint(tmp_path / "bert")
    root = make_encoder_folder(
        tmp_path / "run", "classification", vocab_size='60\npath = "../bert"', layers="[1, 2]"
    )
    line = told(root, monkeypatch, capsys, verb)
    assert line.endswith("the largest of space.layers is 2: make it 3")
    assert not list(root.glob("predictors/*"))


def test_a_checkpoint_that_is_not_here_yet_is_left_to_the_training(tmp_path: Path) -> None:
    for path in ("../bert", "hub:made/up"):
        root = make_encoder_folder(
            tmp_path / path[:3], "classification", vocab_size=f'60\npath = "{path}"'
        )
        Context(open_run(root)).check_checkpoint()


def test_empty_texts_are_counted_and_long_ones_are_cut(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "run", "classification", steps="1")
    odd: list[dict[str, object]] = [
        {"text": x, "label": "good"} for x in (" ", None, math.nan, LONG)
    ]
    write_rows(root, "train.jsonl", [*examples("classification"), *odd])
    progress = KeptProgress()
    run = mosdeploy.open_run(root, progress=progress)
    run.train()
    data = next(line for line in progress.messages if line.startswith("data: "))
    assert data.endswith("empty 3")  # long texts are cut, so that none has too many tokens
    run.export("largest")
    (cut,) = run.answer([LONG])
    assert cut["is_cut"]
