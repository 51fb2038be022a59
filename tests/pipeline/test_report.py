"""The report of a run folder, and the scores that it shows."""

from pathlib import Path

import pytest
from walking import edit, opened

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


def test_scores_of_an_earlier_supernet_are_not_shown(folder: Path) -> None:
    path = Workspace(folder).scores_path
    table = read_record(ScoreTable, path, "mosdeploy evaluate")
    edit(path, f'"inputs_sha256": "{table.inputs_sha256}"', '"inputs_sha256": "of an earlier one"')
    report = opened(folder).report().report
    assert (report.scores, report.headline.metrics) == (None, {})


def test_a_deployment_that_cannot_be_read_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Workspace(folder).deployment_path("other").write_text('{"version": 99}')
    report = opened(folder).report().report
    assert [deployment.device.name for deployment in report.deployments] == ["local"]
    assert "other.json was made by a newer mosdeploy" in caplog.text
