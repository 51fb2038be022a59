"""What a bundle takes on a device, beside its limits."""

from mosdeploy.devices.bundle_checks import LatencyLimit, missed_limits
from mosdeploy.records import Measurement, Timing


def test_a_limit_on_a_tail_is_held_against_the_tail(make_profile):
    total = Timing(median_ms=1.0, p90_ms=9.0, p99_ms=19.0, minimum_ms=1.0, repeats=200)
    taken = Measurement(total=total)
    assert not LatencyLimit(5.0).is_missed(make_profile(), taken)
    for statistic, ms in (("p90", 9.0), ("p99", 19.0)):
        assert LatencyLimit(ms - 1, statistic).is_missed(make_profile(), taken)
        assert not LatencyLimit(ms, statistic).is_missed(make_profile(), taken)


def test_what_an_emulated_device_takes_misses_no_limit(make_profile):
    total = Timing(median_ms=9.0, p90_ms=9.0, minimum_ms=9.0, repeats=1)
    taken = Measurement(total=total, memory_bytes=2**30)
    profile = make_profile(emulated=True)
    assert not missed_limits(profile, taken, LatencyLimit(1.0), 2**20)


def test_what_misses_its_limit_by_little_does_not_look_equal(make_profile):
    def missed(median_ms, limit_ms, more_bytes=0):
        total = Timing(median_ms=median_ms, p90_ms=99.0, minimum_ms=1.0, repeats=1)
        taken = Measurement(total=total, memory_bytes=200 * 2**20 + more_bytes)
        return missed_limits(make_profile(), taken, LatencyLimit(limit_ms), 200 * 2**20)

    assert missed(20.004, 20.0) == ("the bundle takes 20.004 ms there (median), the limit is 20 ms")
    assert missed(12_345.6, 12_345.0) == (
        "the bundle takes 12345.6 ms there (median), the limit is 12345 ms"
    )
    assert missed(1.0, 1.0, 30) == (
        "the bundle takes 200.00003 MiB of memory there, the limit is 200 MiB"
    )
