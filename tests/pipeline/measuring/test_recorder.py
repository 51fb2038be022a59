"""The events of boards, written down: results once each, whoever lists them again."""

from pathlib import Path

import pytest
from answers import timed
from example_spaces import SMALL
from walking import KeptProgress

from mosdeploy.config.device import DeviceProfile
from mosdeploy.devices.fleet import (
    Accepted,
    Failed,
    Finished,
    Message,
    Repeating,
    ResultReceived,
    Started,
    Uploading,
)
from mosdeploy.devices.job import AgentResult
from mosdeploy.devices.on_device.agent import REFERENCE
from mosdeploy.errors import DeviceError, StaleInputError
from mosdeploy.latency.dataset import LatencyDataset, read_sessions
from mosdeploy.pipeline.measuring.recorder import ProfileRecorder
from mosdeploy.records import DeviceState, LatencyContext
from mosdeploy.spaces.translation import TranslationWorkload

ARCHS = {arch.key: arch for arch in (SMALL.smallest, SMALL.largest)}
KEY = SMALL.smallest.key
STATE = DeviceState(packages={"numpy": "2.1", "onnxruntime-gpu": "1.20.0"})


def at(second: int, day: int = 1) -> str:
    return f"2026-01-{day:02}T00:00:{second:02}+00:00"


def result(key: str, measured_at: str, median_ms: float) -> ResultReceived:
    found = AgentResult(key=key, measurement=timed(median_ms), measured_at=measured_at)
    return ResultReceived("pi1", found)


@pytest.fixture
def dataset(tmp_path: Path) -> LatencyDataset:
    context = LatencyContext(
        dataset_id="first",
        device=DeviceProfile(name="board", host="pi1"),
        workload=TranslationWorkload(),
        space_sha256="",
        vocab_size=50,
        graph_sha256="",
    )
    return LatencyDataset.open(tmp_path / "latency.jsonl", context)


def record(dataset: LatencyDataset, *events: object, is_fleet: bool = False) -> KeptProgress:
    progress = KeptProgress()
    recorder = ProfileRecorder(dataset, ARCHS, progress, is_fleet=is_fleet)
    for event in events:
        recorder.record(event)
    return progress


def test_an_accepted_measurement_is_a_line_of_its_session(dataset: LatencyDataset) -> None:
    record(dataset, Started("pi1", STATE), Accepted("pi1", KEY, timed(10.0)))
    (session,) = read_sessions(dataset.path)
    (line,) = LatencyDataset.load(dataset.path).records
    assert (line.arch, line.session) == (SMALL.smallest, session.session)
    assert (line.runtime, line.measurement) == ("onnxruntime 1.20.0", timed(10.0))


def test_what_a_board_measured_on_another_day_is_a_session_of_its_own(
    dataset: LatencyDataset,
) -> None:
    other = SMALL.largest.key
    record(
        dataset,
        Started("pi1", STATE),
        result(REFERENCE, at(1), 10.0),
        result(KEY, at(2), 20.0),
        # as a killed command left these, they are accepted by what comes behind
        result(REFERENCE, at(1, day=3), 5.0),
        Accepted("pi1", KEY, timed(20.0)),
        result(other, at(2, day=3), 15.0),
        Accepted("pi1", other, timed(15.0)),
        Finished("pi1", STATE),
    )
    first, second = read_sessions(dataset.path)
    assert [x.total.median_ms for x in first.references] == [10.0]
    assert [x.total.median_ms for x in second.references] == [5.0]
    assert [x.session for x in dataset.records] == [first.session, second.session]


def test_what_an_earlier_session_has_begins_no_other(dataset: LatencyDataset) -> None:
    old = result(REFERENCE, at(1), 10.0)
    record(dataset, Started("pi1", STATE), old, Finished("pi1", STATE))
    record(dataset, Started("pi1", STATE), old, result(REFERENCE, at(1, day=3), 5.0))
    first, second = read_sessions(dataset.path)
    assert (len(first.references), len(second.references)) == (1, 1)


def test_a_result_whose_time_is_unknown_belongs_to_the_session_that_lists_it(
    dataset: LatencyDataset,
) -> None:
    record(
        dataset,
        Started("pi1", STATE),
        result(REFERENCE, at(1), 1.0),
        result(REFERENCE, "", 1.0),
        Accepted("pi1", KEY, timed(3.0)),
    )
    assert len(dataset.sessions) == 1


def test_a_result_that_is_listed_again_is_told_once(dataset: LatencyDataset) -> None:
    events = (
        result(KEY, at(1), 10.0),
        result(REFERENCE, at(2), 5.0),
        result("unknown", "2026-01-01T00:00:03+00:00", 1.0),
    )
    progress = record(
        dataset,
        Started("pi1", STATE),
        *events,
        Started("pi1", STATE),
        *events,
        Finished("pi1", STATE),
    )
    assert progress.updates == [("measure on board", "10.0 ms")]
    (session,) = read_sessions(dataset.path)
    assert [timing.total.median_ms for timing in session.references] == [5.0]
    assert session.after == STATE


def with_runtime(version: str) -> DeviceState:
    return STATE.model_copy(update={"packages": {"onnxruntime": version}})


def test_what_two_runtimes_measured_does_not_count(dataset: LatencyDataset) -> None:
    events = (Started("pi1", STATE), Accepted("pi1", KEY, timed(10.0)))
    with pytest.raises(
        StaleInputError, match=r"on pi1 was 1\.20 before it measured and is 1\.22 .*check --setup"
    ):
        record(dataset, *events, Finished("pi1", with_runtime("1.22.1")))
    again = LatencyDataset.open(dataset.path, dataset.context)
    assert again.sessions == ()
    assert list(again.missing(ARCHS.values())) == [f"{KEY}-1", SMALL.largest.key]


@pytest.mark.parametrize("after", [with_runtime("1.20.3"), DeviceState()])
def test_a_runtime_that_is_as_fast_or_unknown_is_the_same(
    dataset: LatencyDataset, after: DeviceState
) -> None:
    record(dataset, Started("pi1", STATE), Finished("pi1", after))
    assert dataset.sessions[0].after == after


def test_a_session_that_goes_on_has_not_ended(dataset: LatencyDataset) -> None:
    record(dataset, Started("pi1", STATE), Finished("pi1", STATE), Started("pi1", STATE))
    (session,) = read_sessions(dataset.path)
    assert session.after is None


def test_what_is_measured_anew_is_counted(dataset: LatencyDataset) -> None:
    told: list[tuple[int, int, str]] = []

    class Counted(KeptProgress):
        def update(self, stage: str, done: int, total: int, note: str = "") -> None:
            told.append((done, total, note))

    recorder = ProfileRecorder(dataset, ARCHS, Counted(), is_fleet=False)
    recorder.record(Started("pi1", STATE))
    other = SMALL.largest.key
    for event in (
        result(KEY, at(1), 9.0),
        result(other, at(2), 9.0),
        Repeating("pi1", {KEY: 2, other: 2}),
        result(KEY, at(3), 9.0),
        Repeating("pi1", {other: 2}),  # the agent was started again
        result(other, at(4), 9.0),
        result(other, at(5), 9.0),
    ):
        recorder.record(event)
    assert told == [
        (1, 2, "9.00 ms"),
        (2, 2, "9.00 ms"),
        (3, 4, "9.00 ms, 1 measured anew"),
        (4, 4, "9.00 ms, 2 measured anew"),
        (5, 5, "9.00 ms, 3 measured anew"),
    ]


def test_more_threads_than_cores_are_told(dataset: LatencyDataset) -> None:
    few = STATE.model_copy(update={"cores": 1})
    assert record(dataset, Started("pi1", few)).messages == []
    workload = TranslationWorkload(threads=2)
    dataset.context = dataset.context.model_copy(update={"workload": workload})
    (told,) = record(dataset, Started("pi1", few)).messages
    assert "pi1 has 1 cores, [workload] threads is 2" in told


def test_in_a_fleet_each_board_is_named(dataset: LatencyDataset) -> None:
    progress = record(
        dataset,
        Started("pi1", STATE),
        Uploading("pi1", KEY),
        Uploading("pi1", REFERENCE),
        result(KEY, at(1), 10.0),
        Message("pi1", "reconnecting"),
        Failed("pi1", DeviceError("unplugged")),
        is_fleet=True,
    )
    assert progress.updates == [
        ("upload to board", "pi1"),
        ("upload to board", "pi1"),
        ("measure on board", "pi1: 10.0 ms"),
    ]
    assert progress.messages == [
        "pi1: reconnecting",
        "pi1 failed, what it has not finished goes to the others: unplugged",
    ]
