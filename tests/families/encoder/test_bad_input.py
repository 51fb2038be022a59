"""What is wrong with the input of an encoder, as the command line tells it: one line, and nothing
is written. The files behind it have finer tests of their own.
"""

import json
import math
import sys
from pathlib import Path

import huggingface_hub
import pytest
from encoder_task import trained_tokenizer
from encoder_vectors import write_modules
from encoder_walking import examples, make_encoder_folder, opened_encoder, write_checkpoint
from walking import KeptProgress, edit

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


def without_checkpoint(root: Path) -> None:
    edit(root / "mosdeploy.toml", "vocab_size = 60", 'vocab_size = 60\npath = "data"')


def of_another_kind(root: Path) -> None:
    trained_tokenizer(root / "data" / "tokenizer.json")
    (root / "data" / "model.safetensors").touch()
    (root / "data" / "config.json").write_text('{"model_type": "mpnet"}')
    edit(root / "mosdeploy.toml", "vocab_size = 60", 'vocab_size = 96\npath = "data"')


def with_another_tokenizer(root: Path) -> None:
    of_another_kind(root)  # which is not looked at before the tokenizer
    edit(root / "mosdeploy.toml", "vocab_size = 96", "vocab_size = 60")


def without_column(root: Path) -> None:
    write_rows(root, "train.jsonl", [{"text": "a film"}, {"text": "b"}])


def with_misnamed_column(root: Path) -> None:
    edit(root / "mosdeploy.toml", "max_tokens = 24", 'max_tokens = 24\ntext = "sentence"')


def with_one_label(root: Path) -> None:
    rows = [row for row in examples("classification") if row["label"] == "good"]
    write_rows(root, "train.jsonl", rows)


def with_an_untaught_label(root: Path) -> None:
    labels = 'labels = ["bad", "good", "fair"]\ntest = "data/test.jsonl"'
    edit(root / "mosdeploy.toml", 'labels = ["bad", "good"]', labels)
    write_rows(root, "test.jsonl", [{"text": "so so", "label": "fair"}])


def with_an_unknown_label(root: Path) -> None:
    write_rows(root, "train.jsonl", [*examples("classification"), {"text": "x", "label": "maybe"}])


def with_longer_texts_than_positions(root: Path) -> None:
    edit(root / "mosdeploy.toml", "max_tokens = 24", "max_tokens = 25")


BAD = [
    (without_checkpoint, "data is no checkpoint: it lacks config.json, model.safetensors"),
    (of_another_kind, "model_type 'mpnet' is not supported; supported: ('bert', 'distilbert'"),
    (with_another_tokenizer, "has ids up to 95, but the embedding table (vocab_size) 60 rows"),
    (without_column, "train.jsonl, line 1: no column 'label'; the columns are: 'text'"),
    (with_misnamed_column, "line 1: no column 'sentence'; the columns are: 'text', 'label'"),
    (with_one_label, "have the label 'good'; there is nothing to tell apart"),
    (with_an_untaught_label, "test.jsonl, line 1: no training example has the label 'fair'"),
    (with_an_unknown_label, "line 401: column 'label' holds 'maybe'"),
    (with_longer_texts_than_positions, "may have 25 tokens, but space.max_positions is 24"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD, ids=[x[0].__name__ for x in BAD])
def test_a_training_on_bad_input_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoil: object,
    message: str,
) -> None:
    root = make_encoder_folder(tmp_path / "run", "classification")
    spoil(root)  # type: ignore[operator]
    assert message in told(root, monkeypatch, capsys)


@pytest.mark.slow
def test_a_downloaded_checkpoint_that_pools_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "bert")
    write_modules(tmp_path / "bert", "cls", "Normalize")
    path = str(tmp_path / "bert")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: path)
    checkpoint = '60\npath = "hub:made/up"'
    root = make_encoder_folder(tmp_path / "run", "embedding", vocab_size=checkpoint)
    line = told(root, monkeypatch, capsys)
    assert line.endswith('write pooling = "cls" in [task]')


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


def test_words_and_tags_of_other_lengths_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_encoder_folder(tmp_path / "run", "tagging")
    rows = [*examples("tagging"), {"tokens": ["a", "bright", "film"], "tags": ["O", "B-GOOD"]}]
    write_rows(root, "train.jsonl", rows)
    line = told(root, monkeypatch, capsys)
    assert "train.jsonl, line 401: 3 words in 'tokens' and 2 tags in 'tags'" in line


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


@pytest.mark.slow
def test_a_table_may_have_more_rows_than_there_are_ids(tmp_path: Path) -> None:
    """As in checkpoints whose table was rounded up."""
    root = make_encoder_folder(tmp_path / "run", "classification", steps="1")
    own = opened_encoder(root)
    own.train()  # for a tokenizer of 60 pieces
    folder = root / "checkpoint"
    write_checkpoint(folder, vocab_size=64)
    tokenizer = (root / "supernet" / "tokenizer.model").read_bytes()
    (folder / "tokenizer.json").write_bytes(tokenizer)
    started = make_encoder_folder(tmp_path / "started", "classification", steps="1")
    changed = f'vocab_size = 64\npath = "{folder}"'
    edit(started / "mosdeploy.toml", "vocab_size = 60", changed)
    run = opened_encoder(started)
    assert run.train().vocab_size == 64
    run.finetune("largest", steps=1)
    exported = run.export("largest")
    assert exported.manifest.vocab_size == 64
    assert len(run.predict(["the film is bright"])) == 1
