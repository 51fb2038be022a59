"""How boards compare, and the noise floor, by hand."""

import numpy as np
import pytest

from mosdeploy.latency.calibration import calibrate_boards, calibrate_sessions, noise_floor_percent
from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession, read_sessions
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.records import DeviceState, Measurement, ReferenceTiming, SessionRecord, Timing


def timing(median_ms):
    return Timing(
        median_ms=median_ms, p90_ms=median_ms, p99_ms=median_ms, minimum_ms=median_ms, repeats=10
    )


def session(host, *times_ms, name="s"):
    references = tuple(ReferenceTiming(measured_at=str(x), total=timing(x)) for x in times_ms)
    return SessionRecord(
        session=name,
        dataset_id="first",
        started_at="t",
        host=host,
        state=DeviceState(),
        references=references,
    )


def test_the_time_ratio_is_that_to_the_median_board():
    sessions = [
        session("pi1", 9.0, 9.2),
        session("pi2", 10.0, 50.0, 10.0),
        session("pi3", 12.0),
        session("pi1", 8.0),
    ]
    found = calibrate_boards(sessions, {"pi3": 1, "pi1": 5, "pi2": 4})
    assert [(x.host, x.num_subnets, x.reference_ms, x.time_ratio) for x in found] == [
        ("pi1", 5, 9.0, 0.9),
        ("pi2", 4, 10.0, 1.0),
        ("pi3", 1, 12.0, 1.2),
    ]


def test_a_board_without_a_reference_has_no_time_ratio():
    found = calibrate_boards([session("pi1", 10.0)], {"pi1": 1, "pi2": 1})
    assert [(x.host, x.reference_ms, x.time_ratio) for x in found] == [
        ("pi1", 10.0, 1.0),
        ("pi2", None, None),
    ]


def test_the_noise_floor_is_that_of_repeats_on_one_board():
    assert noise_floor_percent([]) is None
    assert noise_floor_percent([session("rpi", 10.0), session("pi2", 20.0)]) is None
    one = [session("rpi", 10.0), session("rpi", 10.2, 9.9)]
    # 0, 2% and 1% from the median of 10 ms, which three timings lie too close to
    three = pytest.approx(1.5**0.5)
    assert noise_floor_percent(one) == three
    more = [*one, session("pi2", 20.0, 20.4, 19.8), session("pi3", 70.0)]
    assert noise_floor_percent(more) == three


def test_what_a_fit_divides_by_is_no_noise():
    older = session("rpi", 11.9, 11.8, 11.7, name="older")
    newest = session("rpi", 10.1, 10.0, 9.9, name="newest")
    ratios = calibrate_sessions([older, newest], {"older": 1, "newest": 1})
    assert noise_floor_percent([older, newest]) > 8.0
    assert noise_floor_percent([older, newest], ratios) < 1.0


def test_the_noise_of_a_tail_is_that_of_the_tail():
    times = session("rpi", 10.0, 10.0, 10.0)
    references = tuple(
        x.model_copy(update={"total": x.total.model_copy(update={"p90_ms": p90_ms})})
        for x, p90_ms in zip(times.references, (20.0, 10.0, 30.0), strict=True)
    )
    times = times.model_copy(update={"references": references})
    assert noise_floor_percent([times]) == 0.0
    # from the median of 20 ms: 0, 10 and 10
    assert noise_floor_percent([times], statistic="p90") == pytest.approx(100 / 3 * 1.5**0.5)


def rescaled(*sessions, **num_subnets):
    found = calibrate_sessions(sessions, num_subnets)
    return {(x.host, x.session): (x.num_subnets, pytest.approx(x.time_ratio)) for x in found}


def test_older_sessions_are_compared_with_the_newest_of_their_board():
    older = session("pi1", 9.9, 10.0, 10.1, name="older")
    other = session("pi2", 20.0, 20.2, name="other")
    newest = session("pi1", 8.1, 8.0, 7.9, name="newest")
    empty = session("pi1", name="empty")
    counts = {"older": 3, "other": 4, "newest": 1, "empty": 5}
    assert rescaled(older, other, newest, empty, **counts) == {("pi1", "older"): (3, 1.25)}
    # that measured nothing
    assert rescaled(older, newest, newest=1) == {}


def test_sessions_that_differ_by_chance_stay_as_they_are():
    # timings lie 1% from their median, and the medians of ten and of two 3% apart by chance
    ten = [9.9, 10.1] * 5
    assert rescaled(session("pi", *ten, name="a"), session("pi", 10.1, 10.1, name="b"), a=1) == {}
    assert rescaled(session("pi", *ten, name="a"), session("pi", 10.3, 10.1, name="b"), a=1) == {}
    assert rescaled(session("pi", *ten, name="a"), session("pi", 10.6, 10.4, name="b"), a=1)
    # as many timings again tell a smaller difference from chance
    many = [session("pi", *[x * y for x in ten * 3], name=str(y)) for y in (1, 1.015)]
    assert rescaled(*many, **{"1": 9})
    # without two timings in any session nobody knows what chance is
    assert rescaled(session("pi", 10.0, name="a"), session("pi", 15.0, name="b"), a=1) == {}


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_an_unchanged_board_is_seldom_taken_for_another(count):
    rng = np.random.default_rng(count)
    pairs = 10 * np.exp(0.02 * rng.standard_normal((500, 2, count)))
    found = [rescaled(session("pi", *a, name="a"), session("pi", *b), a=1) for a, b in pairs]
    assert sum(map(bool, found)) <= len(pairs) / 15


@pytest.mark.parametrize(("count", "ratio"), [(2, 1.3), (3, 1.15), (10, 1.05)])
def test_a_board_at_another_speed_is_found(count, ratio):
    rng = np.random.default_rng(count)
    pairs = 10 * np.exp(0.02 * rng.standard_normal((100, 2, count)))
    found = [
        rescaled(session("pi", *a * ratio, name="a"), session("pi", *b), a=1) for a, b in pairs
    ]
    assert sum(map(bool, found)) >= 80


def test_boards_are_compared_as_they_are_in_their_newest_session():
    sessions = [
        session("pi1", 20.0, 20.2, name="old"),
        session("pi1", 10.0, 10.1, name="new"),
        session("pi2", 10.05, 10.05, name="pi2"),
    ]
    found = calibrate_sessions(sessions, {"old": 3})
    boards = calibrate_boards(sessions, {"pi1": 4, "pi2": 2}, found)
    assert [x.reference_ms for x in boards] == pytest.approx([10.05, 10.05])


def test_the_fit_predicts_the_device_as_it_is_now(
    tmp_path, context, space, draw, true_latency, record
):
    """A board that was 30% slower when the first two thirds were measured."""
    dataset = LatencyDataset.open(tmp_path / "latency.jsonl", context)
    genes = draw(24, seed=3)
    now_ms = true_latency(genes)
    for factor, rows in ((1.3, slice(0, 16)), (1.0, slice(16, 24))):
        begun = ProfilingSession(dataset.path, "board", DeviceState(), dataset_id="first")
        for number, noise in enumerate((0.999, 1.0, 1.001)):
            begun.add_reference(
                f"{factor} {number}", Measurement(total=timing(10 * factor * noise))
            )
        for gene, time_ms in zip(genes[rows], now_ms[rows], strict=True):
            made = record(space.from_genes(gene), float(time_ms * factor))
            dataset.append(made.model_copy(update={"session": begun.record.session}))
    (older,) = dataset.rescaled_sessions
    assert (older.num_subnets, older.time_ratio) == (16, pytest.approx(1.3))
    np.testing.assert_allclose(dataset.samples(space).latency_ms, now_ms)
    found = LatencyPredictor.fit_dataset(space, dataset)
    np.testing.assert_allclose(found.predict(genes), now_ms, rtol=0.02)
    assert found.card.rescaled_sessions == (older,)
    assert LatencyPredictor.model_validate_json(found.model_dump_json()) == found


def test_two_levels_within_a_session_are_made_one(tmp_path, context, space, draw, record):
    """A board that became 8% slower for good when it had measured 16 of 40."""
    dataset = LatencyDataset.open(tmp_path / "latency.jsonl", context)
    begun = ProfilingSession(dataset.path, "board", DeviceState(), dataset_id="first")
    for number, level in enumerate((1.0, 1.08, 1.085, 1.08)):
        begun.add_reference(str(number), Measurement(total=timing(10 * level)))
    genes = draw(4, seed=3)
    # the last one changed its level while it was measured, and the third is as usual
    around_ms = (10.0, 10.8, 10.7, None)
    for gene, reference_ms in zip(genes, around_ms, strict=True):
        made = record(space.from_genes(gene), 5.4)
        measured = made.measurement.model_copy(update={"reference_ms": reference_ms})
        update = {"session": begun.record.session, "measurement": measured}
        dataset.append(made.model_copy(update=update))
    usual_ms = 10.8
    ratios = [10.0 / usual_ms, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(dataset.time_ratios(dataset.usable), ratios)
    np.testing.assert_allclose(dataset.samples(space).latency_ms, 5.4 / np.array(ratios))
    # one timing before the step, which no other confirms, is noise; with a second one none is
    assert dataset.noise_floor_percent == pytest.approx(2.2, rel=0.1)
    before = dataset.sha256
    begun.add_reference("4", Measurement(total=timing(10.0)))
    (stored,) = read_sessions(dataset.path)
    order = (0, 4, 1, 2, 3)
    assert noise_floor_percent(
        [stored.model_copy(update={"references": tuple(stored.references[i] for i in order)})],
        most_percent=2.0,
    ) == pytest.approx(0.1, abs=0.1)
    begun.add_reference("5", Measurement(total=timing(10.0)))
    assert dataset.sha256 != before  # they are divided by something else now


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
            session = ProfilingSession(dataset.path, host, DeviceState(), dataset_id="first")
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
