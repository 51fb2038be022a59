"""How boards compare, and the noise floor, by hand."""

import logging

import numpy as np
import pytest

from mosdeploy.latency.calibration import calibrate_boards, noise_floor_percent
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.latency.sessions import ProfilingSession
from mosdeploy.records import DeviceState, Measurement, ReferenceTiming, SessionRecord, Timing


def timing(median_ms):
    return Timing(median_ms=median_ms, p90_ms=median_ms, minimum_ms=median_ms, repeats=10)


def session(host, *times_ms):
    references = tuple(ReferenceTiming(measured_at=str(x), total=timing(x)) for x in times_ms)
    return SessionRecord(
        session="s", started_at="t", host=host, state=DeviceState(), references=references
    )


def test_the_time_ratio_is_that_to_the_median_board():
    sessions = [
        session("pi1", 9.0, 9.2),
        session("pi2", 10.0, 50.0, 10.0),
        session("pi3", 12.0),
        session("pi1", 8.0),
    ]
    found = calibrate_boards(sessions, {"pi3": 1, "pi1": 5, "pi2": 4}, "rpi")
    assert [(x.host, x.num_subnets, x.reference_ms, x.time_ratio) for x in found] == [
        ("pi1", 5, 9.0, 0.9),
        ("pi2", 4, 10.0, 1.0),
        ("pi3", 1, 12.0, 1.2),
    ]


def test_only_boards_that_measured_are_compared():
    sessions = [session("pi1", 10.0), session("pi2", 12.0), session("pi3", 99.0)]
    assert [
        x.time_ratio for x in calibrate_boards(sessions, {"pi1": 1, "pi2": 1}, "rpi")
    ] == pytest.approx([10 / 11, 12 / 11])
    assert calibrate_boards(sessions, {"pi1": 1}, "rpi") == ()


def test_a_board_without_a_reference_has_no_time_ratio():
    found = calibrate_boards([session("pi1", 10.0)], {"pi1": 1, "pi2": 1}, "rpi")
    assert [(x.host, x.reference_ms, x.time_ratio) for x in found] == [
        ("pi1", 10.0, 1.0),
        ("pi2", None, None),
    ]


def test_sessions_that_name_no_board_are_the_devices_own():
    found = calibrate_boards(
        [session(None, 10.0), session("rpi", 12.0), session("pi2", 22.0)],
        {"rpi": 1, "pi2": 1},
        "rpi",
    )
    assert [(x.host, x.reference_ms) for x in found] == [("pi2", 22.0), ("rpi", 11.0)]


def test_the_noise_floor_is_that_of_repeats_on_one_board():
    assert noise_floor_percent([], "rpi") is None
    assert noise_floor_percent([session("rpi", 10.0), session("pi2", 20.0)], "rpi") is None
    one = [session(None, 10.0), session("rpi", 10.2, 9.9)]
    assert noise_floor_percent(one, "rpi") == pytest.approx(
        1.0
    )  # 0, 2% and 1% from the median of 10 ms
    assert noise_floor_percent(
        [*one, session("pi2", 20.0, 20.4, 19.8), session("pi3", 70.0)], "rpi"
    ) == pytest.approx(1.0)


@pytest.fixture
def fleet(tmp_path, context, space, draw, true_latency, record):
    """A dataset of 24 subnets, half on a board `slow` times as slow, and what the median board
    takes.
    """

    def make(slow):
        dataset = LatencyDataset.open(tmp_path / "latency.jsonl", context)
        genes = draw(24, seed=3)
        latency_ms = true_latency(genes) * (1 + slow) / 2
        for host, factor, rows in (("pi1", 1.0, slice(0, 12)), ("pi2", slow, slice(12, 24))):
            session = ProfilingSession(dataset.path, host, DeviceState())
            session.add_reference("t1", Measurement(total=timing(10.0 * factor)))
            for gene, time_ms in zip(genes[rows], true_latency(genes[rows]), strict=True):
                made = record(space.from_genes(gene), float(time_ms * factor))
                dataset.append(made.model_copy(update={"session": session.record.session}))
        return dataset, genes, latency_ms

    return make


def test_the_fit_predicts_the_median_board(fleet, space, caplog):
    dataset, genes, latency_ms = fleet(1.5)
    found = LatencyPredictor.fit_dataset(space, dataset)
    assert "differ by more than 2%" in caplog.text
    assert "pi1 0.800, pi2 1.200" in caplog.text
    assert "predicts the median board" in caplog.text
    # nine features stand for fifteen
    np.testing.assert_allclose(found.predict(genes), latency_ms, rtol=0.02)
    assert [(x.host, x.num_subnets) for x in found.card.boards] == [("pi1", 12), ("pi2", 12)]
    assert found.card.dataset_sha256 == dataset.sha256


def test_boards_within_the_allowed_drift_cause_no_warning(fleet, space, caplog):
    dataset, genes, latency_ms = fleet(1.02)
    samples = dataset.samples(space)
    assert (samples.genes == genes).all()
    np.testing.assert_allclose(samples.latency_ms, latency_ms)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_new_reference_changes_the_digest_of_a_fleet_only(fleet, context, tmp_path):
    dataset, _, _ = fleet(1.5)
    before = dataset.sha256
    ProfilingSession(dataset.path, "pi2", DeviceState()).add_reference(
        "t2", Measurement(total=timing(16.0))
    )
    assert dataset.sha256 != before
    alone = LatencyDataset.open(tmp_path / "alone" / "latency.jsonl", context)
    before = alone.sha256
    ProfilingSession(alone.path, "board", DeviceState()).add_reference(
        "t1", Measurement(total=timing(16.0))
    )
    assert alone.sha256 == before
