"""Calibration: how far the boards of a fleet lie apart, and the timings of one board, by the
reference subnet that all of them time.

In: the profiling sessions of a dataset, the boards of its records. Out: a `BoardCalibration` a
board, and the noise floor of any prediction.

Boards of one kind differ by their clock, their cooling, their supply. What a board measured is
divided by its `time_ratio`, so that all times are those of one board, the median one. One factor
for all subnets is exact as far as the boards differ by their clock; what it leaves over shows in
the cross-validated error.
"""

import logging
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..records import BoardCalibration, SessionRecord

logger = logging.getLogger(__name__)


def calibrate_boards(
    sessions: Iterable[SessionRecord], num_subnets: Mapping[str, int], default_host: str
) -> tuple[BoardCalibration, ...]:
    """Compare the boards that measured something, by name; none where it was a single one.

    Parameters
    ----------
    num_subnets
        How many subnets each board measured.
    default_host
        The board of sessions that do not name theirs.

    Returns
    -------
    tuple[BoardCalibration, ...]
        The median of a board's timings of the reference, and its ratio to the median of these
        medians, so that a board counts once, however often it timed the reference.
    """
    if len(num_subnets) < 2:
        return ()
    times_ms = _reference_ms(sessions, default_host)
    # without a timing of the reference a board has no ratio
    medians_ms = {host: statistics.median(times_ms[host]) for host in num_subnets if times_ms[host]}
    fleet_ms = statistics.median(medians_ms.values()) if medians_ms else None
    return tuple(
        BoardCalibration(
            host=host,
            num_subnets=num_subnets[host],
            reference_ms=medians_ms.get(host),
            time_ratio=medians_ms[host] / fleet_ms if host in medians_ms and fleet_ms else None,
        )
        for host in sorted(num_subnets)
    )


def noise_floor_percent(sessions: Iterable[SessionRecord], default_host: str) -> float | None:
    """How far apart repeats of one subnet on one board lie: the spread of the reference, None
    without two timings.

    Parameters
    ----------
    default_host
        As `calibrate_boards`.
    """
    boards = _reference_ms(sessions, default_host).values()
    # a single timing is its own median and would only lower the spread
    repeated = [times_ms for times_ms in boards if len(times_ms) >= 2]
    # relative to each board's median, so that the differences between boards do not count
    relative = [
        time_ms / statistics.median(times_ms) for times_ms in repeated for time_ms in times_ms
    ]
    return spread_percent(relative) if relative else None


def warn_of_differences(boards: Sequence[BoardCalibration], limit_percent: float) -> None:
    """Warn of boards that differ by more than the drift that the protocol allows on one board."""
    # a difference within the allowed drift may be noise; the fit divides by larger ones too, but
    # they have a cause that can be found
    far = [
        f"{board.host} {board.time_ratio:.3f}"
        for board in boards
        if board.time_ratio and abs(board.time_ratio - 1) * 100 > limit_percent
    ]
    if far:
        logger.warning(
            "the boards differ by more than %g%% (time of the reference over the fleet's: %s): the "
            "fit divides by that, and predicts the median board; `mosdeploy devices check` may "
            "tell why they differ",
            limit_percent,
            ", ".join(far),
        )
    unknown = [board.host for board in boards if board.time_ratio is None]
    if unknown:
        logger.warning(
            "no timing of the reference on %s: what was measured there enters the fit as it is",
            ", ".join(unknown),
        )


def spread_percent(times_ms: Sequence[float]) -> float:
    """Mean distance from the median, in percent of it.

    A predictor that knows the median is wrong by this much on average, so no other can be better.
    """
    median_ms = statistics.median(times_ms)
    return 100 * statistics.fmean(abs(time_ms - median_ms) for time_ms in times_ms) / median_ms


def _reference_ms(
    sessions: Iterable[SessionRecord], default_host: str
) -> defaultdict[str, list[float]]:
    """Medians of all timings of the reference, by board."""
    found = defaultdict[str, list[float]](list)
    for session in sessions:
        times_ms = [timing.total.median_ms for timing in session.references]
        # sessions from before fleets name no board
        found[session.host or default_host] += times_ms
    return found
