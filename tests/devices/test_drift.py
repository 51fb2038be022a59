"""Which results count, by hand: `R` lines are timings of the reference, lower case letters those of
subnets.
"""

import itertools

import pytest

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.devices.drift import MAX_RETRIES, DriftWatch, aggregate_rounds
from mosdeploy.devices.job import AgentResult
from mosdeploy.records import Measurement, Timing


def result(key, median_ms):
    names = ("median_ms", "p90_ms", "p99_ms", "minimum_ms")
    timing = Timing(**dict.fromkeys(names, median_ms), repeats=10)
    name = {"R": "reference"}.get(key, key)
    return AgentResult(key=name, measurement=Measurement(total=timing))


def accepted(watch, lines):
    """What is accepted because of results such as `R10 a5.5 R10.1`: a key and a time in ms each."""
    results = (result(line[0], float(line[1:])) for line in lines.split())
    return dict(itertools.chain.from_iterable(map(watch.add, results)))


@pytest.fixture
def watch():
    return DriftWatch("abc", MeasureProtocol(reference_every=2))


def test_what_lies_between_two_equal_references_is_accepted(watch):
    assert accepted(watch, "R10 a5 b6") == {}
    found = accepted(watch, "R10.15")
    assert {key: (m.total.median_ms, m.flagged, m.attempts) for key, m in found.items()} == {
        "a": (5.0, False, 1),
        "b": (6.0, False, 1),
    }
    assert found["a"].drift_percent == pytest.approx(1.5)
    assert watch.target_counts == {"c": 1}


def test_a_moved_reference_has_the_stretch_measured_again(watch):
    assert accepted(watch, "R10 a5 R13") == {}
    assert watch.target_counts == {"a": 2, "b": 1, "c": 1}
    found = accepted(watch, "a4 R12.9")
    assert (found["a"].total.median_ms, found["a"].flagged, found["a"].attempts) == (4.0, False, 2)


def test_a_disturbance_over_two_references_is_found(watch):
    assert accepted(watch, "R10 x1 R10.1 x1 R14 a7 R14.1") == {}
    assert watch.target_counts["a"] == 2
    found = accepted(watch, "R10 a5 R10")
    assert (found["a"].total.median_ms, found["a"].flagged) == (5.0, False)


def test_what_stays_disturbed_is_flagged_with_its_best_attempt(watch):
    lines = "R10 a7 R20 a5 R21 a6 R30"
    found = accepted(watch, lines)
    assert (found["a"].total.median_ms, found["a"].flagged) == (5.0, True)
    assert found["a"].attempts == 1 + MAX_RETRIES
    assert found["a"].drift_percent == pytest.approx(5.0)
    assert accepted(watch, "a1 R30") == {}


def test_the_retry_budget_bounds_a_device_that_is_never_stable():
    keys = [f"k{i}" for i in range(40)]
    watch = DriftWatch(keys, MeasureProtocol(reference_every=10))
    reference, num_lines, found = 1.0, 0, accepted(DriftWatch([], MeasureProtocol()), "R1")
    watch.add(result("R", reference))
    while watch.target_counts:
        round_ = list(watch.target_counts)
        for start in range(0, len(round_), 10):
            for key in round_[start : start + 10]:
                watch.add(result(key, 1.0))
                num_lines += 1
            reference *= 1.5
            found.update(accepted(watch, f"R{reference}"))
    assert sorted(found) == sorted(keys)
    assert all(measurement.flagged for measurement in found.values())
    assert num_lines == 40 + 20


@pytest.fixture
def three_rounds():
    return DriftWatch("ab", MeasureProtocol(rounds=3, reference_every=2))


def test_the_median_of_the_rounds_is_accepted_when_all_are_made(three_rounds):
    assert three_rounds.target_counts == {"a": 3, "b": 3}
    assert accepted(three_rounds, "R10 a5 b6 R10.1 b6.4 a5.6 R10") == {}
    found = accepted(three_rounds, "a5.2 b6.1 R10.1")
    assert {key: m.total.median_ms for key, m in found.items()} == {"a": 5.2, "b": 6.1}
    assert (found["a"].total.repeats, found["a"].rounds, found["a"].attempts) == (30, 3, 3)
    assert three_rounds.target_counts == {}


def test_one_disturbed_round_of_three_is_left_out(three_rounds):
    stable = "R10 a5 R10 a5.2 R10"
    found = accepted(three_rounds, f"{stable} a7 R20")
    assert found["a"].total.median_ms == pytest.approx(5.1)
    assert (found["a"].rounds, found["a"].flagged) == (2, False)
    assert accepted(three_rounds, "R10 b6 R20 b7 R10 b5 R10") == {}
    assert three_rounds.target_counts == {"b": 4}
    found = accepted(three_rounds, "b5.4 R10")
    assert found["b"].total.median_ms == pytest.approx(5.2)
    assert (found["b"].rounds, found["b"].attempts) == (2, 4)


def test_a_failure_is_accepted_at_once(watch):
    watch.add(result("R", 10.0))
    ((key, measurement),) = watch.add(failed("a"))
    assert (key, measurement.error) == ("a", "no result within 1 s")
    assert "a" not in accepted(watch, "R90")


def failed(key):
    return AgentResult(key=key, measurement=Measurement(error="no result within 1 s"))


def test_a_failed_round_leaves_those_that_were_timed(three_rounds):
    stable = "R10 a5 b6 R10 a5.2 b6.2 R10"
    assert accepted(three_rounds, stable) == {}
    assert three_rounds.add(failed("b")) == []
    found = accepted(three_rounds, "a5.1 R10")
    assert {key: (m.error, m.rounds, m.attempts) for key, m in found.items()} == {
        "a": (None, 3, 3),
        "b": (None, 2, 3),
    }
    assert three_rounds.target_counts == {}


def test_rounds_that_failed_are_made_up_for_within_bounds(three_rounds):
    """A model that fails more often than not is not one of a few milliseconds."""
    assert accepted(three_rounds, "R10 a5 R10") == {}
    for target_count in (3, 4, 5):
        three_rounds.add(failed("a"))
        assert accepted(three_rounds, "R10") == {}
        assert three_rounds.target_counts["a"] == target_count
    three_rounds.add(failed("a"))
    found = accepted(three_rounds, "R10")
    assert (found["a"].error, found["a"].attempts) == (failed("a").measurement.error, 5)


def test_without_two_references_the_drift_is_unknown(watch):
    found = accepted(watch, "a5 R10")  # as an agent of before the reference left it
    assert (found["a"].drift_percent, found["a"].flagged) == (None, False)
    watch.add(result("b", 5.0))
    ((_, after_failure),) = watch.add(failed("reference"))
    assert (after_failure.drift_percent, after_failure.flagged) == (None, False)


def test_results_of_other_keys_are_passed_over(watch):
    assert accepted(watch, "R10 x5 R20 x5 a5 R20").keys() == {"a"}


@pytest.mark.parametrize(
    ("rounds", "times_ms", "median_ms"), [(1, [5.0], 5.0), (3, [5.0, 9.0, 6.0], 6.0)]
)
def test_without_a_reference_every_round_counts(rounds, times_ms, median_ms):
    watch = DriftWatch(["a"], MeasureProtocol(rounds=rounds), has_reference=False)
    for time_ms in times_ms[:-1]:
        assert accepted(watch, f"a{time_ms}") == {}
    assert accepted(watch, f"a{times_ms[-1]}")["a"].total.median_ms == median_ms


def test_references_of_another_day_say_nothing_of_today(watch):
    """A board that is slower throughout is no disturbance: the fit divides that out."""

    def at(hour, key, median_ms):
        update = {"measured_at": f"2026-01-01T{hour:02}:30:00.000+00:00"}
        return result(key, median_ms).model_copy(update=update)

    lines = [at(1, "R", 10.0), at(1, "x", 1.0), at(1, "R", 10.0), at(1, "R", 10.0)]
    lines += [at(20, "R", 11.0), at(20, "a", 5.0), at(20, "R", 11.0)]
    found = dict(itertools.chain.from_iterable(map(watch.add, lines)))
    assert (found["a"].flagged, found["a"].attempts) == (False, 1)
    assert found["a"].drift_percent == 0
    # within the hour it is one
    lines = [at(20, "R", 12.0), at(20, "b", 5.0), at(20, "R", 12.0)]
    assert not list(itertools.chain.from_iterable(map(watch.add, lines)))
    assert watch.target_counts["b"] == 2


@pytest.mark.parametrize(
    ("hour", "uptime_s", "boot_id", "is_pause"),
    [
        pytest.param(20, None, "", True, id="an older agent"),
        pytest.param(20, 90_000.0, "a", True, id="a night"),
        pytest.param(20, 70.0, "a", False, id="the clock was set"),
        pytest.param(1, 90_000.0, "a", True, id="the clock was set back"),
        pytest.param(20, 70.0, "b", True, id="a night, and a start in the morning"),
        pytest.param(1, 90_000.0, "b", False, id="a start"),
    ],
)
def test_a_clock_that_is_set_is_no_pause(watch, hour, uptime_s, boot_id, is_pause):
    first = {
        "measured_at": "2026-01-01T01:30:00.000+00:00",
        "uptime_s": 60.0,
        "boot_id": boot_id and "a",
    }
    then = {
        "measured_at": f"2026-01-01T{hour:02}:30:00.000+00:00",
        "uptime_s": uptime_s,
        "boot_id": boot_id,
    }
    lines = [
        result("R", 10.0).model_copy(update=first),
        result("a", 15.0).model_copy(update=then),
        result("R", 15.0).model_copy(update=then),
    ]
    found = dict(itertools.chain.from_iterable(map(watch.add, lines)))
    assert ("a" in found) is is_pause  # else the reference moved, and it is measured again


def test_the_time_of_the_reference_around_is_kept_where_it_did_not_move(watch):
    found = accepted(watch, "R10 a5 R10.1")
    assert found["a"].reference_ms == pytest.approx(10.05)
    for _ in range(MAX_RETRIES + 1):
        found = accepted(watch, "R10 b5 R12")
    assert (found["b"].flagged, found["b"].reference_ms) == (True, None)
    # another level, but a steady one; all that may be measured again was
    found = accepted(watch, "R30 c15 R30")
    assert (found["c"].flagged, found["c"].reference_ms) == (True, 30.0)


def timing_of(median_ms, cpu_ms=None):
    return Timing(
        median_ms=median_ms,
        p90_ms=median_ms + 1,
        p99_ms=median_ms + 1,
        minimum_ms=median_ms - 1,
        repeats=10,
        cpu_ms=cpu_ms,
    )


def round_(total_ms, cpu_ms, **facts):
    return Measurement(total=timing_of(total_ms, cpu_ms), **facts)


def test_each_figure_is_the_median_of_its_own():
    only = round_(5.0, 4.0, drift_percent=1.0)
    assert aggregate_rounds([only]) is only
    found = aggregate_rounds(
        [
            round_(5.0, 4.5, load_ms=20.0, peak_memory_bytes=7, memory_bytes=5, drift_percent=0.5),
            round_(6.0, 4.0, load_ms=10.0, peak_memory_bytes=9, memory_bytes=4, drift_percent=1.5),
            round_(9.0, None, load_ms=90.0, drift_percent=None),
        ]
    )
    assert found == Measurement(
        total=timing_of(6.0, 4.25).model_copy(update={"minimum_ms": 4.0, "repeats": 30}),
        load_ms=20.0,
        peak_memory_bytes=9,
        memory_bytes=5,
        drift_percent=1.5,
        rounds=3,
    )


def test_each_part_is_joined_from_the_rounds_that_have_it():
    found = aggregate_rounds(
        [
            round_(5.0, None, parts={"first": timing_of(2.0), "rest": timing_of(3.0)}),
            round_(9.0, None, parts={"first": timing_of(4.0)}),
        ]
    )
    assert list(found.parts) == ["first", "rest"]
    first = found.parts["first"]
    assert (first.median_ms, first.minimum_ms, first.repeats) == (3.0, 1.0, 20)
    assert found.parts["rest"] == timing_of(3.0)


def test_tails_intervals_and_references_are_medians_too():
    rounds = [round_(5.0, None, reference_ms=x) for x in (8.0, 20.0, 9.0)]
    tails = [{"p99_ms": x.reference_ms, "interval_percent": x.reference_ms} for x in rounds]
    found = aggregate_rounds(
        [
            each.model_copy(update={"total": each.total.model_copy(update=tail)})
            for each, tail in zip(rounds, tails, strict=True)
        ]
    )
    assert (found.total.p99_ms, found.total.interval_percent, found.reference_ms) == (9, 9, 9)
