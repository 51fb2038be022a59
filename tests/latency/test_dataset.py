import numpy as np
import pytest
from latency_fixtures import begun

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession, read_sessions
from mosdeploy.records import DeviceState, Measurement, Timing


def overwrite_line(path, number, text):
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = text
    path.write_bytes(b"\n".join(lines))


@pytest.fixture
def archs(space):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(4)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "board-sentence" / "latency.jsonl"


def test_what_is_appended_is_there_after_reopening(path, context, archs, record):
    dataset = LatencyDataset.open(path, context)
    for i, arch in enumerate(archs):
        dataset.append(record(arch, 1.0 + i))
    again = LatencyDataset.open(path, context)
    assert again.records == dataset.records
    assert list(again.measured) == [arch.key for arch in archs]
    assert again.sha256 == dataset.sha256
    assert LatencyDataset.load(path) == again


def test_opening_is_idempotent_and_keeps_the_first_id(path, context):
    LatencyDataset.open(path, context)
    content = path.read_bytes()
    again = LatencyDataset.open(path, context.model_copy(update={"dataset_id": "second"}))
    assert again.context.dataset_id == "first"
    assert path.read_bytes() == content


def test_the_latest_record_of_an_architecture_counts(path, context, archs, record):
    dataset = LatencyDataset.open(path, context)
    dataset.append(record(archs[0], None))
    dataset.append(record(archs[0], 3.0))
    assert len(dataset.records) == 2
    assert [r.measurement.total.median_ms for r in dataset.usable] == [3.0]


def test_the_digest_is_of_what_a_predictor_is_fitted_to(path, context, archs, record):
    """A subnet that fails in every profile changes no predictor."""
    dataset = LatencyDataset.open(path, context)
    dataset.append(record(archs[0], 3.0))
    before = dataset.sha256
    dataset.append(record(archs[1], None))
    dataset.append(record(archs[1], None))
    assert dataset.sha256 == before
    dataset.append(record(archs[1], 2.0))
    assert dataset.sha256 != before


def test_what_failed_or_lost_its_session_is_missing_under_a_new_name(
    path, context, space, archs, record
):
    dataset = begun(path, context)
    dataset.append(record(archs[0], 3.0))
    dataset.append(record(archs[1], None))
    dataset.append(record(archs[1], None))
    dataset.append(record(archs[2], 3.0).model_copy(update={"session": "deleted"}))
    keys = [arch.key for arch in archs]
    assert dataset.missing(archs) == {
        f"{keys[1]}-2": archs[1],
        f"{keys[2]}-1": archs[2],
        keys[3]: archs[3],
    }
    with pytest.raises(StaleInputError, match=r"1 subnets .* not in sessions\.jsonl .* again"):
        dataset.samples(space)


def test_drift_of_the_reference_lowers_the_sample_weight(path, context, space, archs, record):
    dataset = begun(path, context)
    for arch, drift in zip(archs, [None, 0.0, 2.0, 6.0], strict=True):
        steady = record(arch, 3.0)
        measurement = steady.measurement.model_copy(update={"drift_percent": drift})
        dataset.append(steady.model_copy(update={"measurement": measurement}))
    # the protocol allows 2%
    assert dataset.samples(space).sample_weight.tolist() == [1.0, 1.0, 0.5, 0.1]


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_last_line_is_cut_off_by_the_next_append(path, context, archs, cut, record):
    dataset = LatencyDataset.open(path, context)
    dataset.append(record(archs[0], 1.0))
    dataset.append(record(archs[1], 2.0))
    path.write_bytes(path.read_bytes()[:-cut])
    torn = LatencyDataset.open(path, context)
    assert torn.torn
    assert list(torn.measured) == [archs[0].key]
    torn.append(record(archs[2], 3.0))
    assert not torn.torn
    repaired = LatencyDataset.open(path, context)
    assert not repaired.torn
    assert list(repaired.measured) == [archs[0].key, archs[2].key]


def test_a_kill_inside_the_very_first_line_starts_afresh(path, context, archs, record):
    LatencyDataset.open(path, context)
    path.write_bytes(path.read_bytes()[:30])
    dataset = LatencyDataset.open(path, context)
    assert dataset.torn
    dataset.append(record(archs[0], 1.0))
    assert len(LatencyDataset.load(path).records) == 1


@pytest.mark.parametrize("text", [b"{not json", b"[]", b'{"arch": 1}', b"\xff\xfe"])
def test_a_corrupt_middle_line_names_file_line_and_remedy(path, context, archs, text, record):
    dataset = LatencyDataset.open(path, context)
    for arch in archs[:3]:
        dataset.append(record(arch, 1.0))
    overwrite_line(path, 3, text)
    with pytest.raises(StaleInputError, match=r"latency\.jsonl, line 3.*delete that line"):
        LatencyDataset.open(path, context)


@pytest.mark.parametrize("key", MeasureProtocol.model_fields)
def test_each_key_of_the_protocol_is_another_context_but_for_a_timeout(path, context, key):
    LatencyDataset.open(path, context)
    old = getattr(context.device.measure, key)
    new = not old if isinstance(old, bool) else old + 1
    measure = context.device.measure.model_copy(update={key: new})
    device = context.device.model_copy(update={"measure": measure})
    other = context.model_copy(update={"device": device})
    if key == "candidate_timeout_s":
        LatencyDataset.open(path, other)
    else:
        with pytest.raises(StaleInputError, match=f"measure.{key} is {old} there and {new}"):
            LatencyDataset.open(path, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space_sha256": "0" * 64}, "search space is .* 000000000000 now"),
        ({"workload": {"threads": 4}}, "workload.threads is 1 there and 4 now"),
        ({"device": {"emulated": True}}, "device emulated is False there and True now"),
        ({"device": {"provider": "CUDAExecutionProvider"}}, "provider is CPUExecutionProvider"),
    ],
)
def test_another_context_is_refused_with_what_differs(path, context, change, message):
    LatencyDataset.open(path, context)
    update = {
        key: getattr(context, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    with pytest.raises(StaleInputError, match=rf"{message}.*Move .*board-sentence"):
        LatencyDataset.open(path, context.model_copy(update=update))


def test_a_full_disk_keeps_what_was_there(path, context, archs, monkeypatch, record):
    dataset = LatencyDataset.open(path, context)
    dataset.append(record(archs[0], 1.0))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mosdeploy.storage.os.fsync", full)
    with pytest.raises(MosdeployError, match="no space left"):
        dataset.append(record(archs[1], 2.0))
    monkeypatch.undo()
    assert LatencyDataset.load(path).records == dataset.records[:1]


def timing(median_ms):
    names = ("median_ms", "p90_ms", "p99_ms", "minimum_ms")
    return Measurement(total=Timing(**dict.fromkeys(names, median_ms), repeats=10))


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
