"""`mosdeploy walk`: what the command line makes of its outcome."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import ARCH, candidate, deployment, score_table, search_result
from example_spaces import SMALL

from mosdeploy.records import Limits
from mosdeploy.run_folder.options import WalkOptions
from mosdeploy.run_folder.summaries import DemoSummary, WalkSummary

SUMMARY = WalkSummary(
    search=search_result(),
    scores=score_table(**{"winner, finetuned": 30.12, "winner": 12.0}),
    deployment=deployment(),
    arch=ARCH,
    weights="finetuned",
    bundle="bundles/en-fr",
    page="report/index.html",
)


def rows(text: str) -> list[list[str]]:
    return [re.split(" {2,}", line.strip(), maxsplit=1) for line in text.splitlines()]


def test_options_become_limits_and_the_outcome_a_table(ask: Callable[..., Any]) -> None:
    words = ("--max-latency", "150ms", "--max-parameters", "4M", "--device", "rpi")
    done = ask("walk.walk", SUMMARY, "walk", *words)
    assert done.arguments[1] == WalkOptions("150ms", "4M", device="rpi")
    told = rows(done.stdout)
    assert ["BLEU, chrF", "30.1, 60.2"] in told
    assert ["limit", "150 ms, kept as deployed"] in told
    assert ["bundle", "bundles/en-fr"] in told
    assert done.stderr == "next: mosdeploy predict < FILE\n"


def test_without_test_examples_there_are_no_scores(ask: Callable[..., Any]) -> None:
    done = ask("walk.walk", SUMMARY.model_copy(update={"scores": None}), "walk")
    assert done.arguments[1] == WalkOptions()
    assert [row[0] for row in rows(done.stdout)][2:5] == ["winner", "parameters", "predicted"]


def test_a_corrected_prediction_is_told_as_such(ask: Callable[..., Any]) -> None:
    found = SUMMARY.model_copy(update={"search": search_result(level=1.25)})
    assert ["corrected prediction", "120 ms"] in rows(ask("walk.walk", found, "walk").stdout)


@pytest.mark.parametrize(("num_bytes", "kept"), [(1024, "kept"), (1025, "NOT kept")])
def test_a_limit_on_size_is_judged_by_the_files(
    ask: Callable[..., Any], tmp_path: Path, num_bytes: int, kept: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(bytes(num_bytes))
    (tmp_path / "README.md").write_bytes(bytes(1024))  # which the limit is not about
    found = search_result(limits=Limits(max_size_bytes=1024))
    changes = {"search": found, "bundle": str(tmp_path)}
    told = rows(ask("walk.walk", SUMMARY.model_copy(update=changes), "walk").stdout)
    assert ["limit", f"max_size = 1 KiB, {kept}"] in told


def test_another_finalist_in_the_winners_place_is_told(ask: Callable[..., Any]) -> None:
    other = candidate(arch=SMALL.largest, num_parameters=7, measured_ms=140.0)
    found = search_result(finalists=(candidate(), other))
    scores = score_table(winner=12.0)
    one = scores.subnets["winner"].model_copy(update={"arch": other.arch, "metrics": {"BLEU": 5.0}})
    scores = scores.model_copy(update={"subnets": {**scores.subnets, "other": one}})
    changes = {"search": found, "scores": scores, "arch": other.arch, "weights": "inherited"}
    told = rows(ask("walk.walk", SUMMARY.model_copy(update=changes), "walk").stdout)
    assert ["in its place", f"{other.arch.key}  {other.arch}"] in told
    assert ["parameters", "7"] in told
    assert ["BLEU", "5.0"] in told
    assert ["measured", "140 ms"] in told


DEMO = DemoSummary(**dict(SUMMARY))


def test_the_outcome_is_a_table(ask: Callable[..., Any]) -> None:
    done = ask("demo.demo", DEMO, "demo")
    assert done.arguments[:2] == (Path("demo"), "tiny")
    rows = [re.split(" {2,}", line, maxsplit=1) for line in done.stdout.splitlines()[2:]]
    assert rows[0] == ["winner", f"{ARCH.key}  {ARCH}"]
    assert re.search(r"^  before it was finetuned +12\.0, ", done.stdout, re.MULTILINE)
    assert ["bundle measured", "122 ms"] in rows


def test_a_bundle_above_its_limit_is_not_passed_over(ask: Callable[..., Any]) -> None:
    slow = deployment().model_copy(update={"limit_ms": 100.0})
    done = ask("demo.demo", DEMO.model_copy(update={"deployment": slow}), "demo")
    assert re.search(r"^limit +150 ms, NOT kept as deployed", done.stdout, re.MULTILINE)


def test_json_and_folder(ask: Callable[..., Any]) -> None:
    done = ask("demo.demo", DEMO, "demo", "-C", "elsewhere", "--json")
    assert done.arguments[0] == Path("elsewhere")
    assert json.loads(done.stdout)["page"] == "report/index.html"
