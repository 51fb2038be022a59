"""`mosdeploy walk`: all the verbs after `init`, in one go."""

from pathlib import Path

import pytest
from short_walks import TRANSLATION, shorten
from walking import edit, make_run_folder, opened

import mosdeploy
from mosdeploy.errors import ConfigError, PredictorError


def make_short(root: Path) -> mosdeploy.RunFolder:
    shorten(make_run_folder(root), TRANSLATION)
    return opened(root)


def trained_limit_ms(run: mosdeploy.RunFolder) -> float | None:
    limits = run.train().limits
    return limits and limits.limits.max_latency_ms


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
def test_a_supernet_is_trained_within_the_limit_unless_one_is_there(tmp_path: Path) -> None:
    run = make_short(tmp_path)
    run.walk("10s")
    (supernet,) = times_of(tmp_path, "supernet.safetensors").items()
    # what was trained for 10 s may be searched under 9 s, not under 11 s
    for limit, is_same in (("9s", True), ("11s", False)):
        found = run.walk(limit)
        assert found.search.limits.max_latency_ms == float(limit[:-1]) * 1000
        assert (times_of(tmp_path, "supernet.safetensors").items() == {supernet}) == is_same


@pytest.mark.slow
def test_a_supernet_for_several_winners_is_trained_whole(tmp_path: Path) -> None:
    make_short(tmp_path)
    edit(tmp_path / "mosdeploy.toml", "[training]\n", "[training]\nnum_winners = 2\n")
    run = opened(tmp_path)
    run.walk("10s")
    assert run.train().limits is None
    assert run.walk("11s").search.limits.max_latency_ms == 11_000


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
