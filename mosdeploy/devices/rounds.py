"""One measurement of a subnet that was timed several times: the median over its rounds, figure by
figure.

In: measurements of the same subnet, made at different times. Out: one. Which of them count is
decided in `drift.py`.

What differs from round to round (other programs, the memory a process is given, the clock) is more
than what differs between the repeats of one, and no number of repeats averages it out.
"""

import statistics
from collections.abc import Sequence

from ..records import Measurement, Timing


def aggregate_rounds(rounds: Sequence[Measurement]) -> Measurement:
    """Join rounds without an error; one alone stays as it is.

    Minima are the least, `repeats` and peak memory their sum and the most; `drift_percent` is that
    of the worst round.
    """
    if len(rounds) == 1:
        return rounds[0]
    drifts = [round_.drift_percent for round_ in rounds if round_.drift_percent is not None]
    return Measurement(
        total=_timing([round_.total for round_ in rounds]),
        encoder=_timing([round_.encoder for round_ in rounds]),
        decoder=_timing([round_.decoder for round_ in rounds]),
        load_ms=_median([round_.load_ms for round_ in rounds]),
        peak_memory_bytes=max((round_.peak_memory_bytes or 0 for round_ in rounds), default=0)
        or None,
        drift_percent=max(drifts, default=None),
        rounds=len(rounds),
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
