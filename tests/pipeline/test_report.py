"""The report of a run folder, and the scores that it shows."""

from pathlib import Path

import pytest
from walking import KeptProgress, edit, opened

from mosdeploy.errors import ConfigError
from mosdeploy.records import ScoreTable
from mosdeploy.report import Report
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace


def test_scores_and_report_tell_of_the_same_winner(walked: Path) -> None:
    files = Workspace(walked)
    winner = read_record(ScoreTable, files.scores_path, "mosdeploy evaluate").subnets["winner"]
    report = read_record(Report, files.report_dir / "report.json", "mosdeploy report")
    assert report.headline.winner == winner.arch.key
    assert report.headline.metrics == winner.metrics
    assert report.headline.measured == "bundle"
    assert winner.arch.key in (files.report_dir / "index.html").read_text()


def test_scores_are_the_metrics_of_the_family(walked: Path) -> None:
    table = read_record(ScoreTable, Workspace(walked).scores_path, "mosdeploy evaluate")
    assert list(table.subnets) == ["largest", "winner"]
    for scores in table.subnets.values():
        assert list(scores.metrics) == ["BLEU", "chrF"]
        assert all(0.0 <= value <= 100.0 for value in scores.metrics.values())
        assert (scores.setup, scores.weights) == ("greedy", "inherited")
        assert scores.num_examples > 0


def test_what_is_scored_unasked_and_with_which_beam(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    table = run.evaluate(beam=2)
    assert list(table.subnets) == ["largest", "smallest", "winner"]
    assert {scores.setup for scores in table.subnets.values()} == {"beam 2"}
    assert [note for _, note in progress.updates] == ["largest", "smallest", "winner", ""]
    (folder / "search" / "result.json").unlink()
    assert list(run.evaluate().subnets) == ["largest", "smallest"]


def test_scores_of_an_earlier_supernet_are_not_shown(folder: Path) -> None:
    path = Workspace(folder).scores_path
    table = read_record(ScoreTable, path, "mosdeploy evaluate")
    edit(path, f'"supernet_sha256": "{table.supernet_sha256}"', '"supernet_sha256": "earlier"')
    report = opened(folder).report().report
    assert (report.scores, report.headline.metrics) == (None, {})


def test_without_test_examples_nothing_is_scored(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "\ntest_fraction = 0.1", "\ntest_fraction = 0.0")
    run = opened(folder)
    run.train()
    with pytest.raises(ConfigError, match="the data has no test examples"):
        run.evaluate(("largest",))
