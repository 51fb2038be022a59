"""What a search finds and promises, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import mosdeploy
from walking import KeptProgress, edit, lines_of, opened

from mosdeploy.errors import ConfigError, InfeasibleError, PredictorError, StaleInputError
from mosdeploy.evaluation import proxy
from mosdeploy.evaluation.proxy import ProxyEvaluator
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.pipeline.finalist_timing import FinalistTiming
from mosdeploy.pipeline.verified import FinalistVerification
from mosdeploy.records import Candidate, Limits, SearchResult
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.search import inherited_quality
from mosdeploy.storage import append_line, read_record
from mosdeploy.workspace import Workspace


@pytest.fixture(scope="module")
def predicted(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that was searched by predicted losses; tests must not change what was found."""
    root = Path(shutil.copytree(walked, tmp_path_factory.mktemp("predicted") / "run"))
    shutil.rmtree(root / "search")
    options = '[search]\nwiden = false\nquality = "predict"\nquality_samples = 16\n'
    edit(root / "mosdeploy.toml", "[search]\n", options)
    opened(root).search("10s", verify=False)
    return root


def result_of(root: Path) -> SearchResult:
    return read_record(SearchResult, Workspace(root).search_result_path, "mosdeploy search")


def test_an_iteration_tells_how_far_it_is(folder: Path) -> None:
    shutil.rmtree(folder / "search")
    progress = KeptProgress()
    opened(folder, progress).search("10s", verify=False)
    notes = [note for stage, note in progress.updates if stage == "search"]
    assert notes[0] == "1 of 8 more"
    ends = [i for i, note in enumerate(notes) if not note.endswith(" more")]
    assert re.fullmatch(r"best loss [0-9.]+, 8 subnets", notes[ends[0]])
    assert notes[ends[0] + 1].startswith(f"{notes[ends[0]]}, 1 of ")
    assert ends[-1] == len(notes) - 1


def test_the_winner_was_measured_and_keeps_the_limit(walked: Path) -> None:
    result = result_of(walked)
    assert result.verified
    assert result.winner.measured_ms is not None
    assert result.winner.measured_ms <= 10_000.0
    measured = [x for x in result.finalists if x.measured_ms is not None]
    assert inherited_quality(result.winner) == min(map(inherited_quality, measured))


def test_a_noisier_session_of_later_changes_no_search(folder: Path) -> None:
    found = result_of(folder)
    path = Workspace(folder).verified_path("local", found.workload.name)

    def noise() -> float:
        timing = FinalistTiming(Context(open_run(folder)), "local")
        timing.timed(found.finalists, path)
        return timing.noise

    before = noise()
    space = open_run(folder).config.space
    generators = (np.random.default_rng(seed) for seed in range(100))
    last = LatencyDataset.load(path).sessions[-1]
    noisy = [
        timing.model_copy(update={"total": timing.total.model_copy(update={"median_ms": 4.0**i})})
        for i, timing in enumerate(last.references)
    ]
    later = {"session": "later", "references": tuple(noisy)}
    append_line(path.with_name("sessions.jsonl"), last.model_copy(update=later))
    measured = LatencyDataset.load(path)
    other = next(x for x in map(space.sample, generators) if x.key not in measured.measured)
    append_line(path, measured.usable[0].model_copy(update={"arch": other, "session": "later"}))
    assert LatencyDataset.load(path).noise_floor_percent > 50.0
    assert noise() == before


def test_the_front_trades_latency_for_loss(walked: Path) -> None:
    result = result_of(walked)
    times = [x.predicted_ms for x in result.front]
    assert times == sorted(times)
    qualities = [inherited_quality(x) for x in result.front]
    assert qualities == sorted(qualities, reverse=True)


def test_a_limit_that_nothing_meets_names_the_fastest(folder: Path) -> None:
    with pytest.raises(InfeasibleError, match="least predicted") as caught:
        opened(folder).search("0.000001ms")
    assert caught.value.fastest_latency_ms is not None
    assert caught.value.fastest_latency_ms > 1e-6


@pytest.mark.slow
def test_limits_on_parameters_size_and_latency_hold_together(folder: Path) -> None:
    spec = open_run(folder).config.spec
    sizes = [spec.num_parameters(arch) for arch in (spec.space.smallest, spec.space.largest)]
    most = sum(sizes) // 2
    result = opened(folder).search("10s", max_parameters=most, max_size_bytes=300_000)
    assert result.limits == Limits(
        max_latency_ms=10_000.0, max_parameters=most, max_size_bytes=300_000
    )
    for candidate in (result.winner, *result.finalists):
        assert candidate.num_parameters <= most
        assert candidate.size_bytes <= 300_000


def test_without_verification_the_result_says_so(folder: Path) -> None:
    result = opened(folder).search("10s", verify=False)
    assert not result.verified
    assert result.winner.measured_ms is None


@pytest.mark.slow
def test_a_winner_far_below_its_limit_tells_what_may_help(folder: Path) -> None:
    result = opened(folder).search("10s", verify=False)
    assert result.winner.predicted_ms is not None
    words = ("search", "--no-verify", "--max-latency")
    hint = "larger subnets may come to more"
    shown = mosdeploy(*words, "10s", cwd=folder).stdout
    assert "the winner takes 0% of the limit" in shown
    assert hint in shown
    near = f"{1.2 * result.winner.predicted_ms}ms"
    assert hint not in mosdeploy(*words, near, cwd=folder).stdout
    edit(folder / "mosdeploy.toml", "[search]\n", "[search]\nfinalist_steps = 2\n")
    assert hint not in mosdeploy(*words, "10s", cwd=folder).stdout


@pytest.mark.slow
def test_a_limit_on_the_tail_is_searched_for_and_measured_as_one(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "[search]\n", '[search]\nstatistic = "p90"\n')
    run = opened(folder)
    tail = run.search("10s")
    assert tail.statistic == "p90"
    path = Workspace(folder).verified_path("local", tail.workload.name)
    measured = LatencyDataset.load(path).measured
    assert tail.finalists
    firsts = [measured[c.arch.key].measurement.total.p90_ms for c in tail.finalists]
    assert all(c.measured_ms >= first for c, first in zip(tail.finalists, firsts, strict=True))
    # without verification, which may correct the level of the predictions
    tails = {c.arch: c.predicted_ms for c in run.search("10s", verify=False).front}
    middle = run.search("10s", statistic="median", verify=False)
    assert middle.statistic == "median"
    shared = [c for c in middle.front if c.arch in tails]
    ratios = {round(tails[c.arch] / c.predicted_ms, 6) for c in shared}
    assert len(ratios) == 1
    assert ratios.pop() >= 1


def test_a_tail_that_was_never_measured_names_the_verb(folder: Path) -> None:
    path = next((folder / "predictors").glob("*/latency.jsonl"))
    path.write_text(re.sub(r'"p99_ms":[^,]*,', "", path.read_text()))
    with pytest.raises(StaleInputError, match=r"no p99 was measured on 'local' here.*profile"):
        opened(folder).search("10s", statistic="p99", verify=False)


def test_a_parameter_limit_alone_needs_no_predictor(folder: Path) -> None:
    shutil.rmtree(folder / "predictors")
    run = opened(folder)
    result = run.search(max_parameters=40_000, verify=False)
    assert result.predictor_sha256 is None
    assert result.winner.num_parameters <= 40_000
    assert result.winner.arch.key in run.report().page.read_text()


def test_a_parameter_limit_alone_needs_no_tail(folder: Path) -> None:
    """As where the predictor was imported: nothing that it was fitted to is here."""
    for name in ("latency.jsonl", "sessions.jsonl"):
        next((folder / "predictors").glob(f"*/{name}")).unlink()
    run = opened(folder)
    assert run.search(max_parameters=40_000, verify=False).winner.predicted_ms is not None
    assert run.search(max_parameters=40_000, verify=False, statistic="p90").predictor_sha256 is None
    with pytest.raises(StaleInputError, match="mosdeploy profile"):
        run.search("10s", verify=False, statistic="p90")


def test_a_search_for_an_unknown_device_is_refused_unverified_too(folder: Path) -> None:
    before = Workspace(folder).search_result_path.read_bytes()
    with pytest.raises(ConfigError, match="unknown device 'locla'; did you mean 'local'"):
        opened(folder).search(max_parameters=40_000, device="locla", verify=False)
    assert Workspace(folder).search_result_path.read_bytes() == before


def test_a_search_without_any_limit_is_refused(walked: Path) -> None:
    with pytest.raises(ConfigError, match="a search needs a limit: give --max-latency"):
        opened(walked).search()


def test_another_search_space_is_stale(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "encoder_ffn_dim = [16, 64]", "encoder_ffn_dim = [16, 48]")
    run = opened(folder)
    with pytest.raises(StaleInputError, match="search space"):
        run.search("10s")
    with pytest.raises(StaleInputError, match="measured for something else: search space"):
        run.profile()


@pytest.mark.parametrize("limit", [{"max_latency": "9s"}, {"max_parameters": 40_000}])
def test_no_finalist_is_measured_on_an_emulated_device(folder: Path, limit: dict) -> None:
    profile = folder / "device_profiles" / "local.toml"
    edit(profile, 'kind = "local"', 'kind = "local"\nemulated = true')
    run = opened(folder)
    with pytest.raises(
        PredictorError, match="its times mean nothing, so no finalist is measured there"
    ):
        run.search(**limit)


def test_what_a_real_device_measured_predicts_nothing_of_an_emulation(folder: Path) -> None:
    profile = folder / "device_profiles" / "local.toml"
    edit(profile, 'kind = "local"', 'kind = "local"\nemulated = true')
    run = opened(folder)
    with pytest.raises(StaleInputError, match="device emulated is False there and True now"):
        run.search("9s", verify=False)
    assert run.search(max_parameters=40_000, verify=False).winner.measured_ms is None


def test_an_evaluating_search_tells_of_each_iteration(folder: Path) -> None:
    shutil.rmtree(folder / "search")
    progress = KeptProgress()
    result = opened(folder, progress).search("10s", verify=False)
    notes = [note for stage, note in progress.updates if stage == "search"]
    assert notes[-1] == f"best loss {result.winner.loss:.4f}, {result.num_evaluated} subnets"
    assert (result.quality, result.num_predicted) == (None, 0)


def test_counts_are_those_of_the_search_that_the_result_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "search")
    monkeypatch.setattr(proxy, "should_stop", lambda *_: True)
    once = opened(folder).search("10s", verify=False)

    def search_again(task: FinalistVerification) -> tuple[Candidate, list[Candidate]]:
        task.evolution = task.evolve(task.level, task.excess_bytes)
        return task.evolution.ranked[0], []

    # as where the device is not as predicted
    monkeypatch.setattr(FinalistVerification, "run", search_again)
    twice = opened(folder).search("10s")
    assert twice.num_evaluated == once.num_evaluated
    assert twice.num_early_stopped == once.num_early_stopped > 0


@pytest.mark.slow
def test_predicted_winners_are_truly_evaluated(predicted: Path) -> None:
    result = result_of(predicted)
    state = trained_run(open_run(predicted))
    evaluator = ProxyEvaluator(state.validation_set(16))
    for candidate in (result.winner, *result.front):
        assert candidate.loss == evaluator.evaluate(state.subnet(candidate.arch)).loss
    assert 16 < result.num_evaluated <= 16 + 4 * 4
    assert result.num_predicted > 0
    assert result.num_early_stopped == 0
    assert result.quality is not None
    assert 16 <= result.quality.num_samples <= result.num_evaluated


@pytest.mark.slow
def test_another_limit_evaluates_only_what_is_new(predicted: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(predicted, tmp_path / "run"))
    path = Workspace(root).quality_path
    evaluated = lines_of(path)
    assert len(evaluated) == result_of(root).num_evaluated
    second = opened(root).search(max_parameters=40_000, verify=False)
    assert second.winner.num_parameters <= 40_000
    now = lines_of(path)
    assert now[: len(evaluated)] == evaluated
    assert len(now) - len(evaluated) <= 4 * 4
    keys = [json.loads(line)["key"] for line in now]
    assert len(keys) == len(set(keys))


def test_the_report_tells_what_was_predicted(predicted: Path) -> None:
    result = result_of(predicted)
    assert result.quality is not None
    page = opened(predicted).report().page.read_text()
    assert f"{result.num_predicted:,} more were only predicted" in page
    assert f"{result.quality.kendall_tau:.3f}" in page


def test_an_encoder_gets_more_layers(encoder_folder: Path) -> None:
    """Whose supernet has learned next to nothing: all inherit the same."""
    deep = opened(encoder_folder).search(max_parameters=10**9, verify=False).winner
    path = encoder_folder / "mosdeploy.toml"
    assert "[search]\n" in path.read_text()
    edit(path, "[search]\n", "[search]\ndeepen = false\n")
    shallow = opened(encoder_folder).search(max_parameters=10**9, verify=False).winner
    deepest = open_run(encoder_folder).config.space.largest
    assert len(shallow.arch.layers) < len(deep.arch.layers) == len(deepest.layers)
    assert deep.loss <= 1.05 * shallow.loss
