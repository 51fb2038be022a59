"""How far the boards of a fleet lie apart, and the timings of one board: the reference tells, which
all of them time.

In: the sessions of a dataset, the boards of its records. Out: a `BoardCalibration` a board, and the
floor of any prediction.

Boards of one kind differ by their clock, their cooling, their supply. What a board measures is
divided by its level, so that all speak of one board: the middle one. One factor for all subnets is
exact as far as the boards differ by their clock; what it leaves over shows in the cross-validated
error.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..records import BoardCalibration, SessionRecord


def calibrate_boards(
    sessions: Iterable[SessionRecord], num_subnets: Mapping[str, int], own: str
) -> tuple[BoardCalibration, ...]:
    """Levels of the boards that measured something, by name; none where it was a single one.

    Parameters
    ----------
    num_subnets
        How many subnets each board measured.
    own
        The board of sessions that do not name theirs.

    Returns
    -------
    tuple[BoardCalibration, ...]
        The median of a board's timings of the reference, and its ratio to the median of these
        medians, so that a board counts once, however often it timed the reference.
    """
    if len(num_subnets) < 2:
        return ()
    times_ms = _reference_ms(sessions, own)
    medians = {host: statistics.median(times_ms[host]) for host in num_subnets if times_ms[host]}
    middle_ms = statistics.median(medians.values()) if medians else None
    return tuple(
        BoardCalibration(
            host=host,
            num_subnets=num_subnets[host],
            reference_ms=medians.get(host),
            time_ratio=medians[host] / middle_ms if host in medians and middle_ms else None,
        )
        for host in sorted(num_subnets)
    )


def noise_floor_percent(sessions: Iterable[SessionRecord], own: str) -> float | None:
    """How far apart repeats of one subnet on one board lie: the spread of the reference, None
    without two timings.

    Parameters
    ----------
    own
        As `calibrate_boards`.
    """
    boards = _reference_ms(sessions, own).values()
    repeated = [times_ms for times_ms in boards if len(times_ms) >= 2]
    relative = [
        time_ms / statistics.median(times_ms) for times_ms in repeated for time_ms in times_ms
    ]
    return spread_percent(relative) if relative else None


def spread_percent(times_ms: Sequence[float]) -> float:
    """Mean distance from the median, in percent of it.

    A predictor that knows the median is wrong by this much on average, so no other can be better.
    """
    middle_ms = statistics.median(times_ms)
    return 100 * statistics.fmean(abs(time_ms - middle_ms) for time_ms in times_ms) / middle_ms


def _reference_ms(sessions: Iterable[SessionRecord], own: str) -> defaultdict[str, list[float]]:
    """Medians of all timings of the reference, by board."""
    found = defaultdict[str, list[float]](list)
    for session in sessions:
        found[session.host or own] += [timing.total.median_ms for timing in session.references]
    return found
