"""Several rounds to one subnet, by hand."""

from mosdeploy.devices.rounds import aggregate_rounds
from mosdeploy.records import Measurement, Timing


def timing(median_ms, cpu_ms=None):
    return Timing(
        median_ms=median_ms,
        p90_ms=median_ms + 1,
        minimum_ms=median_ms - 1,
        repeats=10,
        cpu_ms=cpu_ms,
    )


def round_(total_ms, cpu_ms, **facts):
    return Measurement(total=timing(total_ms, cpu_ms), **facts)


def test_one_round_stays_as_it_is():
    only = round_(5.0, 4.0, drift_percent=1.0)
    assert aggregate_rounds([only]) is only


def test_each_figure_is_the_median_of_its_own():
    found = aggregate_rounds(
        [
            round_(5.0, 4.5, load_ms=20.0, peak_memory_bytes=7, memory_bytes=5, drift_percent=0.5),
            round_(6.0, 4.0, load_ms=10.0, peak_memory_bytes=9, memory_bytes=4, drift_percent=1.5),
            round_(9.0, None, load_ms=90.0, drift_percent=None),
        ]
    )
    assert found == Measurement(
        total=Timing(median_ms=6.0, p90_ms=7.0, minimum_ms=4.0, repeats=30, cpu_ms=4.25),
        load_ms=20.0,
        peak_memory_bytes=9,
        memory_bytes=5,
        drift_percent=1.5,
        rounds=3,
    )


def test_each_part_is_joined_from_the_rounds_that_have_it():
    found = aggregate_rounds(
        [
            round_(5.0, None, parts={"first": timing(2.0), "rest": timing(3.0)}),
            round_(9.0, None, parts={"first": timing(4.0)}),
        ]
    )
    assert list(found.parts) == ["first", "rest"]
    first = found.parts["first"]
    assert (first.median_ms, first.minimum_ms, first.repeats) == (3.0, 1.0, 20)
    assert found.parts["rest"] == timing(3.0)


def test_tails_intervals_and_references_are_medians_too():
    found = aggregate_rounds(
        [
            Measurement(
                total=timing(5.0).model_copy(update={"p99_ms": x, "interval_percent": x}),
                reference_ms=x,
            )
            for x in (8.0, 20.0, 9.0)
        ]
    )
    assert (found.total.p99_ms, found.total.interval_percent, found.reference_ms) == (9, 9, 9)
