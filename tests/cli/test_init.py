"""`mosdeploy init`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import mosdeploy

from mosdeploy.errors import ConfigError
from mosdeploy.pipeline.init import init
from mosdeploy.run_folder.options import InitOptions
from mosdeploy.run_folder.summaries import NewRun, StepTimes, WalkEstimate


def test_a_run_file_is_written_once(tmp_path: Path) -> None:
    first = mosdeploy("init", "--device", "rpi", cwd=tmp_path)
    assert first.returncode == 0
    assert "next: mosdeploy train" in first.stderr
    assert 'device = "rpi"' in (tmp_path / "mosdeploy.toml").read_text()
    second = mosdeploy("init", cwd=tmp_path)
    assert second.returncode == 3
    assert "exists already" in second.stderr


@pytest.mark.parametrize("name", ["notes", "notes/run"])
def test_a_file_is_no_run_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="notes is a file, not a folder; choose a folder with"):
        init(tmp_path / name)


def test_one_language_is_no_translation() -> None:
    with pytest.raises(ConfigError, match="source and target are both 'en'; a translation needs"):
        InitOptions(("a.en", "a.de"), languages=("en", "en"))


def test_json_names_the_file_that_was_written(tmp_path: Path) -> None:
    done = mosdeploy("init", "--dir", "run", "--json", cwd=tmp_path)
    assert (tmp_path / json.loads(done.stdout)["path"]).exists()
    assert done.stderr == ""


NEW = NewRun(
    path="mosdeploy.toml",
    found={"languages": "en to de (from the suffixes)", "dropped": "none"},
    estimate=WalkEstimate(
        verbs={"train": 120.0, "profile": 50.0, "finetune": 7200.0},
        steps={"teacher": 30, "supernet": 70, "winner": 930},
        times=StepTimes(supernet_s=0.5, winner_s=0.1),
        device="local",
    ),
)


def test_what_was_found_and_what_to_expect_is_told(ask: Callable[..., Any], tmp_path: Path) -> None:
    words = ("--train", "a.en", "a.de", "--time", "2h", "--size", "tiny", "--languages", "en-de")
    words += ("--winners", "4")
    done = ask("init.init", NEW, "init", *words)
    expected = InitOptions(
        ("a.en", "a.de"), size="tiny", time="2h", languages=("en", "de"), num_winners=4
    )
    assert done.arguments[3] == expected
    lines = done.stdout.splitlines()
    assert lines[:2] == ["languages   en to de (from the suffixes)", "dropped     none"]
    assert "train      about 2 min   30 steps of the teacher, 70 steps of the" in done.stdout
    assert lines[-1] == "about 2.0 h in all, 2.0 h training"


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("--size", "tiny"), 3, "size is about your data: give train"),
        (("a.de",), 2, "FILE is about your data"),
        (("--train", "a", "--recipe", "tiny"), 3, "the run file of a template or of your data"),
        (("--train", "a", "--languages", "german"), 3, "languages are source and target"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    done = mosdeploy("init", *words, cwd=tmp_path)
    assert done.returncode == exit_code
    assert message in " ".join(done.stderr.replace("│", " ").split())
