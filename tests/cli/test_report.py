"""`mosdeploy report`: where its two files are."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from answers import score_table

from mosdeploy.pipeline.report import ReportResult


def test_both_files_are_named(ask: Callable[..., Any]) -> None:
    page = Path("report") / "index.html"
    done = ask("report.report", ReportResult(page, SimpleNamespace()), "report")
    assert done.stdout == f"wrote {page} and {Path('report') / 'report.json'}\n"


def test_json_is_the_report_not_its_place(ask: Callable[..., Any]) -> None:
    record = score_table(largest=30.0)  # any record
    done = ask("report.report", ReportResult(Path("index.html"), record), "report", "--json")
    assert done.stdout == record.model_dump_json() + "\n"
