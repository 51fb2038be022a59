"""A search by the quality predictor, in a trained run folder."""

import json
import shutil
from pathlib import Path

import pytest
from walking import Silent

from mosdeploy import pipeline
from mosdeploy.evaluation.predictor import QualityPredictor
from mosdeploy.evaluation.proxy import ProxyEvaluator
from mosdeploy.pipeline.train import trained
from mosdeploy.records import Limits, SearchResult


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(walked, tmp_path / "run"))
    shutil.rmtree(root / "search")
    path = root / "mosdeploy.toml"
    path.write_text(
        path.read_text().replace(
            "[search]\n", '[search]\nquality = "predict"\nquality_samples = 16\n'
        )
    )
    return root


def search(root: Path, limits: Limits) -> SearchResult:
    return pipeline.search(pipeline.open_run(root), None, limits, False, root / "none", Silent())


def test_the_winner_is_truly_evaluated_and_the_predictor_kept(folder: Path) -> None:
    result = search(folder, Limits(max_latency_ms=10_000.0))
    state = trained(pipeline.open_run(folder))
    evaluator = ProxyEvaluator(state.valid_pairs(16))
    for candidate in (result.winner, *result.front):
        assert candidate.loss == evaluator.read(state.subnet(candidate.arch)).loss
    assert 16 < result.num_evaluated <= 16 + 4 * 4 < result.num_predicted
    assert result.num_early_stopped == 0
    predictor = QualityPredictor.load(state.run.workspace.quality_predictor_path)
    assert predictor.card == result.quality
    assert 16 <= predictor.card.num_samples <= result.num_evaluated


def test_another_limit_pays_for_the_few_that_the_predictor_names(folder: Path) -> None:
    first = search(folder, Limits(max_latency_ms=10_000.0))
    path = folder / "search" / "quality.jsonl"
    paid = path.read_bytes().splitlines()
    assert len(paid) == first.num_evaluated
    second = search(folder, Limits(max_parameters=40_000))
    assert second.winner.num_parameters <= 40_000
    now = path.read_bytes().splitlines()
    assert now[: len(paid)] == paid
    assert len(now) - len(paid) <= 4 * 4
    keys = [json.loads(line)["key"] for line in now]
    assert len(keys) == len(set(keys))


def test_the_report_tells_what_was_predicted(folder: Path) -> None:
    result = search(folder, Limits(max_latency_ms=10_000.0))
    assert result.quality is not None
    pipeline.report(pipeline.open_run(folder))
    page = (folder / "report" / "index.html").read_text()
    assert f"{result.num_predicted:,} more were only predicted" in page
    assert f"{result.quality.kendall_tau:.3f}" in page


def test_the_pairs_of_a_search_are_drawn_from_the_whole_validation_set(walked: Path) -> None:
    state = trained(pipeline.open_run(walked))
    whole, drawn, again = (state.valid_pairs(size) for size in (len(state.corpus.valid), 8, 8))
    everything = [tuple(row) for row in whole.targets]
    rows = [everything.index(tuple(row)) for row in drawn.targets]
    assert len(rows) == 8
    assert rows == sorted(rows)  # in the file's order
    assert max(rows) >= 8  # and not its first ones
    assert [tuple(row) for row in again.targets] == [tuple(row) for row in drawn.targets]
