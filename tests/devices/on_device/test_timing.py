"""How often a model is run, and what its times say."""

import itertools

import numpy as np
import pytest
from watching import PROTOCOL

from mosdeploy.devices.on_device import timing


def test_statistics_by_hand():
    times = np.array([5.0, 1.0, 2.0, 3.0, 4.0])
    cpu = np.array([2.0, 2.0, 2.0, 9.0, 1.0])
    assert timing.statistics(np, times, cpu) == {
        "median_ms": 3.0,
        "p90_ms": 4.6,  # a tenth from the end: between 4 and 5, at 0.6
        "p99_ms": 4.96,
        "minimum_ms": 1.0,
        "repeats": 5,
        "interval_percent": pytest.approx(
            100 * 2 / 3
        ),  # of five values no order statistics hold 95%: their range
        "cpu_ms": 2.0,
    }


def test_the_interval_of_a_median_by_hand():
    # Ten values: the second and the ninth, since P(at most 1 of 10 below the median) = 11/1024 =
    # 1.1%, and 5.5% for 2.
    assert timing.interval_percent([float(x) for x in range(10, 0, -1)]) == pytest.approx(
        100 * 3.5 / 5.5
    )
    # A hundred: the 40th and the 61st, as in any table of order statistics.
    assert timing.interval_percent([float(x) for x in range(1, 101)]) == pytest.approx(
        100 * 10.5 / 50.5
    )
    assert timing.interval_percent([3.0] * 12) == 0.0
    # As many as a profile may ask for: 5000.5 -+ 1.96 * sqrt(10000) / 2, the normal approximation.
    assert timing.interval_percent([float(x) for x in range(1, 10_001)]) == pytest.approx(
        100 * 98 / 5000.5, rel=0.01
    )


def repeated(times_ms, **changes):
    """How many runs were warm-up and how many counted, with a device that takes these times and
    then starts over.
    """
    series = itertools.cycle(times_ms)
    num_runs = itertools.count()

    def once():
        next(num_runs)
        return [next(series)]

    rows = timing.repeat(once, {**PROTOCOL, **changes})
    return next(num_runs) - len(rows), len(rows)


def test_warm_up_lasts_until_two_runs_agree():
    assert repeated([9.0, 5.0, 4.0, 4.01] + [4.0] * 50) == (4, 10)
    assert repeated([4.0]) == (2, 10)
    assert repeated([4.0], warmup=5) == (5, 10)


def test_repeats_end_when_the_median_is_known_and_are_bounded():
    assert repeated([4.0, 4.04])[1] == 10
    assert repeated([4.0, 5.0]) == (timing.MAX_WARMUP, 40)  # never steady, never known
    assert repeated([4.0, 5.0], max_time_s=0.0) == (2, 10)  # no time left: the least that counts
    assert repeated([4.0], min_time_s=1e3) == (2, 40)  # known at once, but not for long enough
    assert repeated([4.0], min_time_s=1e3, max_time_s=0.0) == (2, 10)
    assert 10 < repeated([4.0] * 6 + [4.0, 4.3, 4.2, 4.0, 4.1, 4.0, 4.0, 4.0])[1] < 40
