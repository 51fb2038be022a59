"""Sessions of measurements: complete, once each, and the floor by hand."""

import json

import pytest

from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline.sessions import SessionLog, floor_percent, read_sessions
from mosdeploy.records import DeviceState, Measurement, Timing


def timing(median_ms):
    return Measurement(total=Timing(median_ms=median_ms, p90_ms=median_ms, minimum_ms=median_ms, repeats=10))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "latency.jsonl"


def test_a_session_is_in_the_file_from_its_first_moment_and_complete_at_its_end(path):
    log = SessionLog(path, DeviceState(temperature_c=40.0))
    (begun,) = read_sessions(path)
    assert (begun.after, begun.references) == (None, ())
    log.add_reference("t1", timing(10.0))
    log.add_reference("t2", Measurement(error="killed"))
    log.end(DeviceState(temperature_c=60.0))
    (ended,) = read_sessions(path)
    assert ended == log.record
    assert (ended.session, ended.state.temperature_c, ended.after.temperature_c) == (begun.session, 40.0, 60.0)
    assert [reference.measured_at for reference in ended.references] == ["t1"]


def test_what_a_killed_session_had_measured_is_kept_by_the_next_and_counted_once(path):
    SessionLog(path, DeviceState()).add_reference("t1", timing(10.0))  # and then the host is killed
    for names in (["t1", "t2"], ["t1", "t2", "t3"]):
        log = SessionLog(path, DeviceState())
        for name in names:
            log.add_reference(name, timing(10.0))
        log.end(DeviceState())
    sessions = read_sessions(path)
    assert [[reference.measured_at for reference in session.references] for session in sessions] == [
        [],
        ["t1", "t2"],
        ["t3"],
    ]


def test_the_floor_by_hand(path):
    assert floor_percent(path) is None
    for times_ms in ([10.0], [10.2, 9.9]):
        log = SessionLog(path, DeviceState())
        for time_ms in times_ms:
            log.add_reference(str(time_ms), timing(time_ms))
        log.end(DeviceState())
    assert floor_percent(path) == pytest.approx(1.0)  # 0, 2% and 1% from the median of 10 ms


def test_a_session_as_written_before_there_was_an_after_is_read(path):
    old = {"version": 1, "session": "s", "started_at": "2025-01-01T00:00:00+00:00", "state": {"cores": 4}}
    (path.parent / "sessions.jsonl").write_text(json.dumps(old) + "\n")
    (session,) = read_sessions(path)
    assert (session.state.cores, session.after) == (4, None)


def test_a_corrupt_file_is_named(path):
    (path.parent / "sessions.jsonl").write_text("{}\n")
    with pytest.raises(StaleInputError, match=r"sessions\.jsonl is corrupt"):
        floor_percent(path)
