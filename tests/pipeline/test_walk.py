"""`mosdeploy walk`: all the verbs after `init`, in one go."""

from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from short_walks import TRANSLATION, shorten
from walking import KeptProgress, make_run_folder, opened

import mosdeploy
from mosdeploy.errors import ConfigError, InfeasibleError, MosdeployError, PredictorError


def make_short(root: Path) -> mosdeploy.RunFolder:
    shorten(make_run_folder(root), TRANSLATION)
    return opened(root)


def times_of(root: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob(pattern)}


@pytest.mark.slow
def test_from_the_run_file_to_the_page(tmp_path: Path) -> None:
    run = make_short(tmp_path)
    first = run.walk("10s")
    assert first.deployment.limit_kept
    assert first.deployment.bundle == Path(first.bundle).name
    assert Path(first.bundle, "manifest.json").exists()
    assert Path(first.page).stat().st_size > 10_000
    assert first.scores is not None
    assert set(first.scores.subnets) == {"winner", "winner, finetuned"}
    parts = run.status().parts
    assert {part.state for part in parts} == {"ok"}, parts

    trained = times_of(tmp_path, "*.safetensors")
    measured = times_of(tmp_path, "latency.jsonl")
    assert len(trained) == 2
    again = run.walk("10s")
    assert (again.search, again.scores, again.bundle) == (first.search, first.scores, first.bundle)
    assert times_of(tmp_path, "*.safetensors") == trained
    assert times_of(tmp_path, "latency.jsonl") == measured


@pytest.mark.slow
def test_after_a_stopped_walk_status_proposes_what_leads_to_the_same(tmp_path: Path) -> None:
    run = make_short(tmp_path)
    before = run.status().next_command
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, KeptProgress(stop_at=2)).walk("10s")
    assert before == "mosdeploy train"
    run.train()
    run.profile(budget=8)
    assert run.status().next_command == "mosdeploy walk --max-latency 10000ms"
    run.search("10s")
    assert "search" not in str(run.status().next_command)
    # what cannot end is not proposed again
    with pytest.raises(InfeasibleError):
        run.walk("0.0001ms")
    assert "walk" not in str(run.status().next_command)


def test_a_walk_is_for_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_short(tmp_path)
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="a walk is for one process"):
        run.walk("10s")


def test_a_task_is_not_walked(tmp_path: Path) -> None:
    make_short(tmp_path)
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mosdeploy.toml").write_text('supernet_from = ".."\n')
    with pytest.raises(ConfigError, match="a task of another supernet is not walked"):
        opened(tmp_path / "task").walk("10s")


def test_texts_that_nothing_answers_are_told_before_measuring(tmp_path: Path) -> None:
    run = opened(make_encoder_folder(tmp_path / "run", "masked-lm"))
    with pytest.raises(MosdeployError, match="masked-lm"):
        run.walk("10s")
    assert not (tmp_path / "run" / "predictors").exists()


def test_what_cannot_end_is_refused_before_it_begins(tmp_path: Path) -> None:
    run = make_short(tmp_path)
    profiles = tmp_path / "device_profiles"
    real = (profiles / "local.toml").read_text()
    emulated = real.replace('name = "local"', 'name = "board"\nemulated = true')
    (profiles / "board.toml").write_text(emulated)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="a search needs a limit: give --max-latency 150ms"):
        run.walk()
    with pytest.raises(ConfigError, match="unknown device 'elsewhere'"):
        run.walk("10s", device="elsewhere")
    with pytest.raises(PredictorError, match="emulated"):
        run.walk("10s", device="board")
    assert sorted(tmp_path.rglob("*")) == before
