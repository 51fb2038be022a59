"""`mosdeploy demo`: the way from data to a page, told in one table."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from answers import ARCH, deployment, score_table, search_result

from mosdeploy.run_folder.summaries import DemoSummary

SUMMARY = DemoSummary(
    search=search_result(),
    scores=score_table(**{"winner, finetuned": 30.12, "winner": 12.0}),
    deployment=deployment(),
    arch=ARCH,
    weights="finetuned",
    bundle="demo/bundles/en-fr",
    page="demo/report/index.html",
)


def test_the_outcome_is_a_table(ask: Callable[..., Any]) -> None:
    done = ask("demo.demo", SUMMARY, "demo")
    assert done.arguments[:2] == (Path("demo"), "tiny")
    rows = [re.split(" {2,}", line, maxsplit=1) for line in done.stdout.splitlines()[2:]]
    assert rows[0] == ["winner", f"{ARCH.key}  {ARCH}"]
    assert ["parameters", "1,234,567"] in rows
    assert ["BLEU, chrF", "30.1, 60.2"] in rows
    assert re.search(r"^  before it was finetuned +12\.0, ", done.stdout, re.MULTILINE)
    assert ["predicted", "120 ms"] in rows
    assert ["measured", "122 ms"] in rows
    assert ["bundle measured", "122 ms"] in rows
    assert ["limit", "150 ms, kept as deployed"] in rows


def test_a_bundle_above_its_limit_is_not_passed_over(ask: Callable[..., Any]) -> None:
    slow = deployment().model_copy(update={"limit_ms": 100.0})
    done = ask("demo.demo", SUMMARY.model_copy(update={"deployment": slow}), "demo")
    assert re.search(r"^limit +150 ms, NOT kept as deployed", done.stdout, re.MULTILINE)


def test_json_and_folder(ask: Callable[..., Any]) -> None:
    done = ask("demo.demo", SUMMARY, "demo", "-C", "elsewhere", "--json")
    assert done.arguments[0] == Path("elsewhere")
    assert json.loads(done.stdout)["page"] == "demo/report/index.html"
