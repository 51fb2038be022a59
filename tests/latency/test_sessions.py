"""Profiling sessions: complete, once each, whatever board they ran on."""

import pytest

from mosdeploy.errors import StaleInputError
from mosdeploy.latency.sessions import ProfilingSession, read_sessions
from mosdeploy.records import DeviceState, Measurement, Timing


def timing(median_ms):
    return Measurement(
        total=Timing(
            median_ms=median_ms,
            p90_ms=median_ms,
            p99_ms=median_ms,
            minimum_ms=median_ms,
            repeats=10,
        )
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "latency.jsonl"


def test_a_session_is_in_the_file_from_its_beginning_to_its_end(path):
    session = ProfilingSession(
        path, "pi1", DeviceState(temperature_c=40.0), dataset_id="first", emulated=True
    )
    (begun,) = read_sessions(path)
    assert begun.emulated
    assert (begun.after, begun.references) == (None, ())
    session.add_reference("t1", timing(10.0))
    session.add_reference("t2", Measurement(error="killed"))
    session.end(DeviceState(temperature_c=60.0))
    (ended,) = read_sessions(path)
    assert ended == session.record
    assert ended.session == begun.session
    assert (ended.state.temperature_c, ended.after.temperature_c) == (40.0, 60.0)
    assert [reference.measured_at for reference in ended.references] == ["t1"]


def test_a_timing_that_a_board_reports_again_counts_once(path):
    # each session but the last is killed
    for names in (["t1"], ["t1", "t2"], ["t1", "t2", "t3"]):
        session = ProfilingSession(path, "pi1", DeviceState(), dataset_id="first")
        for name in names:
            session.add_reference(name, timing(10.0))
    found = [
        [reference.measured_at for reference in record.references] for record in read_sessions(path)
    ]
    assert found == [["t1"], ["t2"], ["t3"]]


def test_the_sessions_of_several_boards_grow_beside_each_other(path):
    sessions = [
        ProfilingSession(path, host, DeviceState(), dataset_id="first") for host in ("pi1", "pi2")
    ]
    for session in sessions:
        session.add_reference("t1", timing(10.0))  # two boards, two clocks
    sessions[1].end(DeviceState(temperature_c=60.0))
    sessions[0].add_reference("t2", timing(11.0))
    found = {session.host: session for session in read_sessions(path)}
    assert [reference.measured_at for reference in found["pi1"].references] == ["t1", "t2"]
    assert [reference.measured_at for reference in found["pi2"].references] == ["t1"]
    assert (found["pi1"].after, found["pi2"].after.temperature_c) == (None, 60.0)


def test_a_corrupt_file_is_named(path):
    (path.parent / "sessions.jsonl").write_text("{}\n")
    with pytest.raises(StaleInputError, match=r"sessions\.jsonl, line 1: .*; delete that line"):
        read_sessions(path)
