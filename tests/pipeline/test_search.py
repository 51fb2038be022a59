"""What a search finds and promises, and what it refuses."""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from walking import KeptProgress, edit, opened

from mosdeploy.errors import InfeasibleError, PredictorError, StaleInputError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.pipeline.search import _SearchTask, cost_function
from mosdeploy.records import Limits, SearchResult
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.predictors import predictor
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.search.front import quality
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace


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
    assert quality(result.winner) == min(map(quality, measured))


def test_the_front_trades_latency_for_loss(walked: Path) -> None:
    result = result_of(walked)
    times = [x.predicted_ms for x in result.front]
    assert times == sorted(times)
    qualities = [quality(x) for x in result.front]
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
    result = opened(folder).search("10s", max_parameters=most, max_size=300_000)
    assert result.limits == Limits(
        max_latency_ms=10_000.0, max_parameters=most, max_size_bytes=300_000
    )
    for candidate in (result.winner, *result.finalists):
        assert candidate.num_parameters <= most
        assert candidate.size_bytes <= 300_000


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


def test_a_parameter_limit_alone_needs_no_tail_and_no_predictor(folder: Path) -> None:
    """As where the predictor was imported: nothing that it was fitted to is here."""
    for name in ("latency.jsonl", "sessions.jsonl"):
        next((folder / "predictors").glob(f"*/{name}")).unlink()
    run = opened(folder)
    assert run.search(max_parameters=40_000, verify=False).winner.predicted_ms is not None
    assert run.search(max_parameters=40_000, verify=False, statistic="p90").predictor_sha256 is None
    with pytest.raises(StaleInputError, match="mosdeploy profile"):
        run.search("10s", verify=False, statistic="p90")
    shutil.rmtree(folder / "predictors")
    result = run.search(max_parameters=40_000, verify=False)
    assert result.predictor_sha256 is None
    assert result.winner.num_parameters <= 40_000
    assert result.winner.arch.key in run.report().page.read_text()


def test_another_search_space_is_stale(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "encoder_ffn_dim = [16, 64]", "encoder_ffn_dim = [16, 48]")
    run = opened(folder)
    with pytest.raises(StaleInputError, match="search space"):
        run.search("10s")
    with pytest.raises(StaleInputError, match="measured for something else: search space"):
        run.profile()


def test_on_an_emulated_device_nothing_is_measured_and_nothing_real_is_predicted(
    folder: Path,
) -> None:
    profile = folder / "device_profiles" / "local.toml"
    edit(profile, 'kind = "local"', 'kind = "local"\nemulated = true')
    run = opened(folder)
    for limit in ({"max_latency": "9s"}, {"max_parameters": 40_000}):
        with pytest.raises(PredictorError, match="so no finalist is measured there"):
            run.search(**limit)
    with pytest.raises(StaleInputError, match="device emulated is False there and True now"):
        run.search("9s", verify=False)
    assert run.search(max_parameters=40_000, verify=False).winner.measured_ms is None


def test_an_encoder_gets_more_layers(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose supernet has learned next to nothing: all inherit the same."""
    deep = opened(encoder_folder).search(max_parameters=10**9, verify=False).winner
    monkeypatch.setattr("mosdeploy.search.refine.add_layers", lambda found, *_: found)
    shallow = opened(encoder_folder).search(max_parameters=10**9, verify=False).winner
    deepest = open_run(encoder_folder).config.space.largest
    assert len(shallow.arch.layers) < len(deep.arch.layers) == len(deepest.layers)
    assert deep.loss <= 1.05 * shallow.loss


# -- what one search asks its predictor and its limits


Make = Callable[..., _SearchTask]


@pytest.fixture
def make(walked: Path) -> Make:
    """Make the task of a search on this machine; writes nothing."""
    run = open_run(walked)

    def make(limits: Limits, tail_ratio: float = 1.0) -> _SearchTask:
        found = predictor(run, "local")
        state = trained_run(run)
        return _SearchTask(Context(run), state, "local", limits, False, "p90", found, tail_ratio)

    return make


def larger_is_better(archs: Sequence[ArchConfig]) -> list[float]:
    return [100.0 - len(str(arch)) for arch in archs]


def test_medians_are_turned_into_the_figure_and_the_level(make: Make) -> None:
    task = make(Limits(max_latency_ms=1e4), tail_ratio=1.5)
    found = task._evolve(larger_is_better, None, 2.0, 0).ranked
    assert task.predictor is not None
    medians = task.predictor.predict(task.context.config.space.genes([c.arch for c in found]))
    np.testing.assert_allclose([c.predicted_ms for c in found], 3.0 * medians)


def test_what_a_process_takes_besides_is_kept_free_of_candidates(make: Make) -> None:
    task = make(Limits(max_memory_bytes=10**9))
    space = task.context.config.space
    cost = cost_function(task.state.spec, task.state.family)
    least, most = (cost(arch).memory_bytes for arch in (space.smallest, space.largest))
    excess_bytes = (most - least) // 2
    task = replace(task, limits=Limits(max_memory_bytes=most))
    taken = []
    for more in (0, excess_bytes):
        found = task._evolve(larger_is_better, None, 1.0, more)
        taken.append(max(c.memory_bytes for c in found.ranked))
    assert taken[1] <= most - excess_bytes < taken[0] <= most
