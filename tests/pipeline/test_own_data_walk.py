"""From the user's files to a report, with a run file that `init` sized."""

import json
from pathlib import Path

import pytest
from encoder_walking import examples, write_checkpoint
from short_walks import ENCODER, TRANSLATION, shorten, write_profiles
from walking import opened, write_corpus

import mosdeploy

pytestmark = pytest.mark.slow


def walk(root: Path) -> None:
    write_profiles(root / "device_profiles", "local", work_dir=str(root / "device"))
    run = opened(root)
    run.train()
    summary = run.profile()
    assert summary.slowest_ms is not None
    run.search(f"{2 * summary.slowest_ms:.2f}ms")
    run.finetune()
    run.evaluate()
    run.export()
    run.deploy(strict=False)
    assert run.report().page.exists()
    status = run.status()
    assert [x for x in status.parts if x.state != "ok"] == []
    assert status.next_command == "mosdeploy verify"


def test_two_files_of_parallel_text(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data")
    files = [tmp_path / "data" / f"train.{language}" for language in ("en", "de")]
    mosdeploy.init(tmp_path, train=files)
    shorten(tmp_path, TRANSLATION)
    walk(tmp_path)


def test_labelled_texts_and_a_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "bert")
    lines = "".join(f"{json.dumps(row)}\n" for row in examples("classification", 800))
    (tmp_path / "texts.jsonl").write_text(lines)
    mosdeploy.init(tmp_path, train=[tmp_path / "texts.jsonl"], checkpoint=str(tmp_path / "bert"))
    # what int8 may cost stays the default
    shorten(tmp_path, {x: ENCODER[x] for x in ENCODER if x != "export.max_score_drop"})
    walk(tmp_path)
