"""What a search leaves to choose from, on each device with a predictor in the folder."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from synthetic import SPACE, elsewhere, scores, search_result
from walking import add_device, edit, opened

from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.records import SearchResult
from mosdeploy.run_folder.candidates import choices
from mosdeploy.run_folder.predictors import tail_ratio
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace

WORKLOAD = "sentence"


def copy_measurements(files: Workspace, name: str) -> None:
    """What was measured on this machine as if it were of another device."""
    path = files.latency_path(name, WORKLOAD)
    shutil.copytree(files.latency_path("local", WORKLOAD).parent, path.parent)
    files.predictor_path(name, WORKLOAD).unlink()
    edit(path, '"name":"local"', f'"name":"{name}"')


def test_front_comes_first_and_each_candidate_once() -> None:
    search = search_result()
    beside = search.winner.model_copy(update={"arch": SPACE.largest, "measured_ms": 30.0})
    search = search.model_copy(update={"finalists": (*search.finalists, beside)})
    made = choices(search)
    assert [x.arch for x in made] == [*(x.arch for x in search.front), SPACE.largest]
    assert [x.number for x in made] == [*range(1, len(search.front) + 1), None]
    assert [x.command for x in made][:1] == ["mosdeploy export --pick 1"]
    roles = {x.arch.key: (x.role, x.command) for x in made}
    assert roles[search.winner.arch.key] == ("winner", "mosdeploy export")
    assert roles[SPACE.largest.key] == ("finalist", None)  # it did not keep the limit
    assert sum(x.role == "finalist" for x in made) == len(search.finalists) - 1


def test_what_was_not_trained_alone_is_trained_first() -> None:
    search = search_result()
    untrained = [search.winner.arch.key, search.front[0].arch.key]
    commands = {x.arch.key: x.finetune_command for x in choices(search, untrained=untrained)}
    assert commands.pop(search.winner.arch.key) == "mosdeploy finetune"
    assert commands.pop(search.front[0].arch.key) == "mosdeploy finetune --pick 1"
    assert set(commands.values()) == {None}


def test_finalist_beside_the_front_is_exported_by_its_key() -> None:
    search = search_result()
    [*front, best] = search.front
    beside = search.winner.model_copy(update={"arch": best.arch, "loss": 9.0})
    search = search.model_copy(
        update={"front": tuple(front), "finalists": (*search.finalists, beside)}
    )
    [*_, last] = choices(search)
    assert (last.number, last.role) == (None, "finalist")
    assert last.command == f"mosdeploy export --pick {best.arch.key}"


def test_latencies_are_those_of_the_search_and_of_elsewhere() -> None:
    search = search_result()
    xeon = elsewhere(search)
    for choice in choices(search, prices=[xeon], error_percent=2.31):
        here, there = choice.latencies
        assert (here.device, there.device) == ("rpi", "xeon")
        assert there.predicted_ms == xeon.predicted_ms[choice.arch.key]
        assert (here.error_percent, there.error_percent) == (2.31, xeon.error_percent)
        assert there.measured_ms is None
        for latency in (here, there):
            assert latency.needed_ms == (latency.measured_ms or latency.predicted_ms)


def test_scores_stand_by_their_weights() -> None:
    search = search_result()
    table = scores(search.winner.arch)
    better = table.subnets["winner"].model_copy(
        update={"weights": "finetuned", "metrics": {"BLEU": 30.0}}
    )
    table = table.model_copy(update={"subnets": {**table.subnets, "winner, finetuned": better}})
    [winner] = [x for x in choices(search, table) if x.scores]
    assert winner.role == "winner"
    assert winner.scores == {
        "inherited": {"BLEU": 24.1, "chrF": 46.6},
        "finetuned": {"BLEU": 30.0},
    }


def test_the_page_prices_the_front_for_every_device(folder: Path) -> None:
    other = add_device(folder, "other")
    report = opened(folder).report().report
    devices = [[x.device for x in choice.latencies] for choice in report.choices]
    assert devices == [["local", "other"]] * len(report.choices)
    for choice in report.choices:
        [predicted_ms] = other.predict(other.space.genes([choice.arch])).tolist()
        latency = choice.latencies[1]
        assert latency.predicted_ms == latency.needed_ms == pytest.approx(predicted_ms)
        assert latency.measured_ms is None
        assert latency.error_percent == other.card.mape_percent
        assert choice.latencies[0].error_percent == report.predictor.mape_percent
    page = (folder / "report" / "index.html").read_text()
    assert "latency on other" in page


def test_a_tail_is_predicted_from_medians(folder: Path) -> None:
    files = Workspace(folder)
    copy_measurements(files, "other")
    edit(files.search_result_path, '"limits"', '"statistic": "p90", "limits"')
    run = opened(folder)
    report = run.report().report
    ratio = tail_ratio(open_run(folder), "other", "p90", current=False)
    assert ratio > 1.0
    space = run.config.space
    medians = LatencyPredictor.load(files.predictor_path("other", WORKLOAD))
    for choice in report.choices:
        [median_ms] = medians.predict(space.genes([choice.arch])).tolist()
        assert choice.latencies[1].predicted_ms == pytest.approx(median_ms * ratio)


def test_a_predictor_that_does_not_suit_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_device(folder, "other")
    (folder / "predictors" / f"other-{WORKLOAD}").rename(
        folder / "predictors" / f"renamed-{WORKLOAD}"
    )
    with caplog.at_level(logging.WARNING, "mosdeploy"):
        report = opened(folder).report().report
    assert {x.device for choice in report.choices for x in choice.latencies} == {"local"}
    assert "the page leaves renamed out: the predictor was fitted for something else" in caplog.text


def without_predictions(folder: Path) -> SearchResult:
    """What was searched, as if by size."""
    path = Workspace(folder).search_result_path
    found = json.loads(path.read_text())
    for each in (found["winner"], *found["front"], *found["finalists"]):
        each["predicted_ms"] = None
    found["predictor_sha256"] = None
    path.write_text(json.dumps(found))
    return read_record(SearchResult, path, "mosdeploy search")


def test_a_search_by_size_is_priced_afterwards(folder: Path) -> None:
    add_device(folder, "other")
    search = without_predictions(folder)
    report = opened(folder).report().report
    assert [x.device for x in report.choices[0].latencies] == ["local", "other"]
    assert all(x.latencies[0].needed_ms is not None for x in report.choices)
    # the search took the longer of two timings
    measured = {x.arch.key: x.measured_ms for x in search.finalists}
    shown = {x.arch.key: x.latencies[0].measured_ms for x in report.choices}
    assert {key: shown[key] for key in measured} == measured


def test_finalists_of_a_search_without_a_predictor_are_shown_with_their_times(
    folder: Path,
) -> None:
    shutil.rmtree(folder / "predictors")
    shutil.rmtree(folder / "deployments")
    search = without_predictions(folder)
    result = opened(folder).report()
    measured = {x.arch.key: x.measured_ms for x in search.finalists}
    assert len(measured) > 1
    for choice in result.report.choices:
        [latency] = choice.latencies
        assert (latency.device, latency.predicted_ms, latency.needed_ms) == ("local", None, None)
        assert latency.measured_ms == measured.get(choice.arch.key)
    page = result.page.read_text()
    assert ">this machine, measured<" in page and ">this machine, predicted<" not in page
    assert "latency on this machine" not in page  # finalists alone are no choice within a limit
    assert "predicted, not measured" not in page
    # nothing else tells of the device
    assert "No state was taken down" not in page
    # whether it is emulated its profile tells
    path = folder / "device_profiles" / "local.toml"
    assert not result.report.headline.emulated
    path.write_text(f"emulated = true\n{path.read_text()}")
    assert opened(folder).report().report.headline.emulated
