"""Join the measurements of one subnet from several rounds: the median, figure by figure."""

import statistics
from collections.abc import Sequence
from typing import TypeVar

from ..records import Measurement, Timing

N = TypeVar("N", int, float)


def aggregate_rounds(rounds: Sequence[Measurement]) -> Measurement:
    """Join rounds that did not fail; a single one stays as it is."""
    if len(rounds) == 1:
        return rounds[0]
    totals = [each.total for each in rounds if each.total]
    names = dict.fromkeys(name for each in rounds for name in each.parts)
    return Measurement(
        total=_join(totals) if totals else None,
        parts={
            name: _join([each.parts[name] for each in rounds if name in each.parts])
            for name in names
        },
        load_ms=_median([each.load_ms for each in rounds]),
        peak_memory_bytes=_largest([each.peak_memory_bytes for each in rounds]),
        memory_bytes=_largest([each.memory_bytes for each in rounds]),
        drift_percent=_largest([each.drift_percent for each in rounds]),
        reference_ms=_median([each.reference_ms for each in rounds]),
        rounds=len(rounds),
    )


def _join(timings: Sequence[Timing]) -> Timing:
    return Timing(
        median_ms=statistics.median(timing.median_ms for timing in timings),
        p90_ms=statistics.median(timing.p90_ms for timing in timings),
        p99_ms=_median([timing.p99_ms for timing in timings]),
        minimum_ms=min(timing.minimum_ms for timing in timings),
        repeats=sum(timing.repeats for timing in timings),
        interval_percent=_median([timing.interval_percent for timing in timings]),
        cpu_ms=_median([timing.cpu_ms for timing in timings]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    """Median of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _largest(values: Sequence[N | None]) -> N | None:
    """The largest of those that are known."""
    return max((value for value in values if value is not None), default=None)
