"""Timings of finalists: how long they count, and what makes them anew."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from walking import KeptProgress, lines_of, opened, set_age

from mosdeploy.latency import calibration
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.pipeline import search
from mosdeploy.pipeline.measuring import collect
from mosdeploy.pipeline.measuring.collect import CollectRequest
from mosdeploy.pipeline.search import FinalistTiming
from mosdeploy.records import SearchResult
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace


def finalists_of(folder: Path) -> SearchResult:
    return read_record(SearchResult, Workspace(folder).search_result_path, "mosdeploy search")


def timing_of(folder: Path) -> FinalistTiming:
    """What a search that begins now times by."""
    return FinalistTiming(Context(open_run(folder)), "local")


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first_path", "again_path"])
@pytest.mark.parametrize(
    ("minutes", "counts"),
    [
        pytest.param(30, True, id="half an hour"),
        pytest.param(120, False, id="two hours"),
        pytest.param(-120, False, id="clock set back"),
    ],
)
def test_each_timing_counts_for_an_hour(
    folder: Path, monkeypatch: pytest.MonkeyPatch, which: str, minutes: int, counts: bool
) -> None:
    path = getattr(timing_of(folder), which)
    set_age(path, {0: timedelta(minutes=minutes), 1: timedelta(minutes=1)})
    old, other = LatencyDataset.load(path).records[:2]
    chosen = [x for x in finalists_of(folder).finalists if x.arch in (old.arch, other.arch)]
    asked: list[str] = []

    def measure(context: Context, found: Any, missing: Mapping[str, object], *_: object) -> None:
        asked.extend(missing)

    monkeypatch.setattr(collect, "_measure", measure)
    timing_of(folder).timed(chosen, path)
    # under a new name: the device holds results of the first one
    assert asked == ([] if counts else [f"{old.arch.key}-1"])
    assert len(LatencyDataset.load(path).records) == len(lines_of(path)) - 1


def test_what_a_search_has_measured_itself_counts_however_long_it_takes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = timing_of(folder)
    set_age(timing.again_path, {0: timedelta(minutes=80), 1: timedelta(minutes=80)})
    timing.since -= timedelta(minutes=30)  # the search began half an hour ago
    asked: list[str] = []
    monkeypatch.setattr(collect, "_measure", lambda *found: asked.extend(found[2]))
    archs = [x.arch for x in LatencyDataset.load(timing.again_path).records]
    timing.timed([x for x in finalists_of(folder).finalists if x.arch in archs], timing.again_path)
    assert asked == []


@pytest.mark.slow
def test_what_a_killed_search_left_on_the_device_counts_for_an_hour(folder: Path) -> None:
    """One finalist was timed three weeks ago and one just now; neither was read from the device."""
    timing = timing_of(folder)
    path = timing.first_path
    before = LatencyDataset.load(path)
    path.write_text(lines_of(path)[0] + "\n")
    job_id = open_run(folder).job_id(before.context.dataset_id)
    device = Path(before.context.device.work_dir)
    results = device / "jobs" / job_id / "results.jsonl"
    results.parent.mkdir(parents=True)
    old, new = before.records[:2]
    ages = {old.arch.key: timedelta(weeks=3), new.arch.key: timedelta(0)}
    times = {
        "median_ms": 0.125,
        "p90_ms": 0.125,
        "p99_ms": 0.125,
        "minimum_ms": 0.125,
        "repeats": 10,
    }
    lines = [
        {
            "key": key,
            "measured_at": (datetime.now(UTC) - age).isoformat(),
            "measurement": {"total": times},
        }
        for key, age in ages.items()
    ]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen = [x for x in finalists_of(folder).finalists if x.arch in (old.arch, new.arch)]
    measured = {x.arch.key: x.measured_ms for x in timing.timed(chosen, path)}
    assert measured[new.arch.key] == 0.125
    assert measured[old.arch.key] != 0.125


@pytest.mark.slow
def test_renewing_a_profile_puts_the_timings_of_finalists_away(folder: Path) -> None:
    """A device that was slow throughout told of no noise."""
    timing = timing_of(folder)
    paths = (timing.first_path, timing.again_path)
    contents = [path.read_bytes() for path in paths]
    profile = Workspace(folder).latency_path("local", "sentence")
    before = profile.read_bytes()
    timing.timed(finalists_of(folder).finalists[:1], timing.first_path)
    assert opened(folder).profile(renew=True).measured_now == 0
    assert profile.read_bytes() == before
    assert not any(path.exists() for path in paths)
    assert [path.with_suffix(".old").read_bytes() for path in paths] == contents
    # a search that was measuring meanwhile goes on
    second = timing.timed(finalists_of(folder).finalists[1:2], timing.first_path)
    assert [x.arch for x in LatencyDataset.load(timing.first_path).records] == [second[0].arch]
    # again, with nothing that is there
    assert not timing.again_path.exists()
    told = KeptProgress()
    assert opened(folder, progress=told).profile(renew=True).measured_now == 0
    (line,) = (x for x in told.messages if x.startswith("nothing to measure again: "))
    told = f"% that may be; to do so all the same, move the folder {profile.parent} away"
    assert line.endswith(told)


def test_the_noise_is_that_of_the_tail_and_never_less_than_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    percents = iter((1.0, 40.0, 10.0))

    def noise(sessions: object, *, statistic: str) -> float:
        asked.append(statistic)
        return next(percents)

    path = timing_of(folder).first_path
    known = SimpleNamespace(dataset=LatencyDataset.load(path))
    monkeypatch.setattr(search, "collect", lambda *_: known)
    monkeypatch.setattr(calibration, "noise_floor_percent", noise)
    timing = FinalistTiming(Context(open_run(folder)), "local", "p90")
    for expected in (0.03, 0.4, 0.4):
        timing.timed(finalists_of(folder).finalists, path)
        assert timing.noise == expected
    assert asked == ["p90"] * 3


def test_what_later_sessions_brought_is_no_noise_of_this_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions = [SimpleNamespace(session=name) for name in ("own", "later")]
    dataset: Any = SimpleNamespace(
        measured={"a": sessions[0], "b": sessions[1]},
        sessions=sessions,
    )
    monkeypatch.setattr(calibration, "noise_floor_percent", lambda found, *_, **__: len(found))
    assert search._noise_of(dataset, ["a", "put away"], "median") == 0.01


def test_a_limit_on_the_tail_is_measured_by_the_tail(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = timing_of(folder).first_path
    dataset = LatencyDataset.load(path)
    repeats: list[int] = []

    def collect(context: Context, request: CollectRequest) -> Any:
        repeats.append(request.device.measure.min_repeats)
        return SimpleNamespace(dataset=dataset)

    monkeypatch.setattr(search, "collect", collect)
    timing = FinalistTiming(Context(open_run(folder)), "local", "p90")
    for found in timing.timed(finalists_of(folder).finalists, path):
        total = dataset.measured[found.arch.key].measurement.total
        assert total is not None and found.measured_ms == total.p90_ms > total.median_ms
    assert repeats == [run_profile(folder, "local").timed_for("p90").measure.min_repeats]
    assert repeats != [run_profile(folder, "local").measure.min_repeats]
