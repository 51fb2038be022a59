"""From the user's files to a report, with a run file that `init` sized."""

import json
from pathlib import Path

import pytest
from encoder_walking import examples, write_checkpoint
from walking import edit, opened, write_corpus

import mosdeploy

pytestmark = pytest.mark.slow


def shorten(root: Path, steps: int) -> None:
    """Fewer steps than the least that `init` plans, and a device that is timed briefly."""
    path = root / "mosdeploy.toml"
    lines = path.read_text().splitlines()
    short = {"budget = 1500": f"budget = {steps}", "steps = 120": "steps = 12"}
    path.write_text(
        "\n".join(next((new for old, new in short.items() if x.startswith(old)), x) for x in lines)
    )
    edit(path, "[search]", "[search]\nfinalists = 2")
    (root / "device_profiles").mkdir()
    (root / "device_profiles" / "local.toml").write_text(
        f'name = "local"\nkind = "local"\nwork_dir = "{root / "device"}"\n'
        "[measure]\nmin_time_s = 0.0\nmax_time_s = 0.1\nmax_drift_percent = 1e6\n"
    )


def walk(root: Path) -> Path:
    run = opened(root)
    run.train()
    summary = run.profile()
    assert summary.slowest_ms is not None
    run.search(f"{2 * summary.slowest_ms:.2f}ms")
    run.finetune()
    run.export()
    run.deploy(strict=False)
    assert run.report().page.exists()
    status = run.status()
    assert [x for x in status.parts if x.state != "ok" and x.what != "scores"] == []
    assert status.next_command == "mosdeploy verify"
    return root


def test_two_files_of_parallel_text(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data")
    files = [tmp_path / "data" / f"train.{language}" for language in ("en", "de")]
    mosdeploy.init(tmp_path, train=files)
    shorten(tmp_path, steps=100)
    walk(tmp_path)


def test_labelled_texts_and_a_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "bert")
    lines = "".join(f"{json.dumps(row)}\n" for row in examples("classification", 800))
    (tmp_path / "texts.jsonl").write_text(lines)
    mosdeploy.init(tmp_path, train=[tmp_path / "texts.jsonl"], checkpoint=str(tmp_path / "bert"))
    shorten(tmp_path, steps=100)
    walk(tmp_path)
