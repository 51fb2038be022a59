"""One measurement of a subnet that was timed several times: the median over its visits, figure by figure.

In: measurements of the same subnet, made at different times. Out: one. Which of them count is decided in `drift.py`.

What differs from visit to visit (other programs, the memory a process is given, the clock) is more than what differs
between the repeats of one, and no number of repeats averages it out.
"""

import statistics
from collections.abc import Sequence

from ..records import Measurement, Timing


def median_of(visits: Sequence[Measurement]) -> Measurement:
    """Join visits without an error; one alone stays as it is.

    Minima are the least, `repeats` and peak memory their sum and the most; `drift_percent` is that of the worst visit.
    """
    if len(visits) == 1:
        return visits[0]
    drifts = [visit.drift_percent for visit in visits if visit.drift_percent is not None]
    return Measurement(
        total=_timing([visit.total for visit in visits]),
        encoder=_timing([visit.encoder for visit in visits]),
        decoder=_timing([visit.decoder for visit in visits]),
        load_ms=_median([visit.load_ms for visit in visits]),
        peak_memory_bytes=max((visit.peak_memory_bytes or 0 for visit in visits), default=0) or None,
        drift_percent=max(drifts, default=None),
        visits=len(visits),
    )


def _timing(of_visits: Sequence[Timing | None]) -> Timing | None:
    timings = [timing for timing in of_visits if timing]
    if not timings:
        return None
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
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
