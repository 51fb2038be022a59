"""Calibration: how far the boards of a fleet lie apart, the sessions of one board, and the timings
of one session, by the reference subnet that all of them time.
"""

import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..config.units import Statistic
from ..records import BoardCalibration, LatencyRecord, SessionCalibration, SessionRecord

logger = logging.getLogger(__name__)

CHANCE = 0.05
"""In how many pairs of sessions of an unchanged board their medians may be taken to differ, as a
share; with two to ten timings of the reference each they are in 2 to 5 of a hundred.
"""


def calibrate_sessions(
    sessions: Sequence[SessionRecord],
    num_subnets: Mapping[str, int],
    most_percent: float = math.inf,
) -> tuple[SessionCalibration, ...]:
    """Find the sessions in which a board was slower or faster than in its newest one."""
    timed = [(x, _times_ms(x)) for x in sessions if x.references]
    newest = {x.host: times_ms for x, times_ms in timed}
    spread = _spread_within(levelled(times_ms, most_percent) for _, times_ms in timed)
    num_free = sum(len(times_ms) - 1 for _, times_ms in timed)
    found = []
    for session, times_ms in timed:
        num_measured = num_subnets.get(session.session, 0)
        newest_ms = newest[session.host]
        ratio = statistics.median(times_ms) / statistics.median(newest_ms)
        if not num_measured or spread is None:
            continue
        if abs(ratio - 1) > _limit(spread, num_free, len(times_ms), len(newest_ms)):
            found.append(
                SessionCalibration(
                    session=session.session,
                    host=session.host,
                    started_at=session.started_at,
                    num_subnets=num_measured,
                    time_ratio=ratio,
                )
            )
    return tuple(found)


def _limit(spread: float, num_free: int, *num_timings: int) -> float:
    """How far the medians of two sessions may lie apart by chance, relative to either."""
    from scipy.special import stdtrit  # here, as the command line imports this file

    # if Gaussian, 1.25 spreads are a standard deviation, and 1.25 of these over the root of n the
    # standard error of a median of n
    standard_error = 1.25 * 1.25 * spread * math.hypot(*(num**-0.5 for num in num_timings))
    # Student's t: about two standard errors, and more where the spread is known from few timings
    return max(spread, float(stdtrit(num_free, 1 - CHANCE / 2)) * standard_error)


def calibrate_boards(
    sessions: Iterable[SessionRecord],
    num_subnets: Mapping[str, int],
    rescaled: Iterable[SessionCalibration] = (),
) -> tuple[BoardCalibration, ...]:
    """Compare the boards that measured something, by name; none where it was a single one."""
    if len(num_subnets) < 2:
        return ()
    times_ms = _reference_ms(sessions, rescaled)
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


def noise_floor_percent(
    sessions: Iterable[SessionRecord],
    rescaled: Iterable[SessionCalibration] = (),
    statistic: Statistic = "median",
    most_percent: float = math.inf,
) -> float | None:
    """Return how far apart repeats of the reference on one board lie; None without two timings."""
    # each board by itself, so that the differences between boards do not count
    times_ms = _reference_ms(sessions, rescaled, statistic, most_percent)
    spread = _spread_within(times_ms.values())
    return None if spread is None else 100 * spread


def within_sessions(
    records: Iterable[LatencyRecord],
    sessions: Iterable[SessionRecord],
    most_percent: float,
) -> list[float]:
    """How slow a board was when it measured some records, beside the rest of the same session."""
    usual_ms = {x.session: statistics.median(_times_ms(x)) for x in sessions if x.references}
    ratios = []
    for record in records:
        reference_ms = record.measurement.reference_ms or math.nan
        ratio = reference_ms / usual_ms.get(record.session, math.nan)
        ratios.append(ratio if abs(ratio - 1) * 100 > most_percent else 1.0)
    return ratios


def levelled(times_ms: Sequence[float], most_percent: float) -> list[float]:
    """Timings of the reference in a session, divided as what was measured beside them is."""
    usual_ms = statistics.median(times_ms) if times_ms else math.nan

    def level(number: int) -> float:
        own_ms = times_ms[number]
        beside = [*times_ms[max(number - 1, 0) : number], *times_ms[number + 1 : number + 2]]
        # as far as the watch for drift lets the reference move
        agree = [x for x in beside if (max(x, own_ms) / min(x, own_ms) - 1) * 100 <= most_percent]
        ratio = statistics.fmean([own_ms, *agree]) / usual_ms
        return ratio if agree and abs(ratio - 1) * 100 > most_percent else 1.0

    return [time_ms / level(number) for number, time_ms in enumerate(times_ms)]


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
    """Mean distance from the median, in percent of it."""
    median_ms = statistics.median(times_ms)
    return 100 * statistics.fmean(abs(time_ms - median_ms) for time_ms in times_ms) / median_ms


def _spread_within(groups: Iterable[Sequence[float]]) -> float | None:
    """Return the mean relative distance of timings from the median of their group, as of groups of
    many timings; None where no group has two.
    """
    # a single timing is its own median and would only lower the spread
    spreads = [(len(x), spread_percent(x) / 100) for x in groups if len(x) >= 2]
    if not spreads:
        return None
    # few timings lie closer to their own median than to that of many
    total = sum(count * spread * math.sqrt(count / (count - 1)) for count, spread in spreads)
    return total / sum(count for count, _ in spreads)


def _reference_ms(
    sessions: Iterable[SessionRecord],
    rescaled: Iterable[SessionCalibration] = (),
    statistic: Statistic = "median",
    most_percent: float = math.inf,
) -> defaultdict[str, list[float]]:
    """Return all times of the reference by board, as they would be at the usual level."""
    ratios = {x.session: x.time_ratio for x in rescaled}
    found = defaultdict[str, list[float]](list)
    for session in sessions:
        ratio = ratios.get(session.session, 1.0)
        times_ms = levelled(_times_ms(session, statistic), most_percent)
        found[session.host] += [x / ratio for x in times_ms]
    return found


def _times_ms(session: SessionRecord, statistic: Statistic = "median") -> list[float]:
    """Return the times of the reference in one session."""
    return [timing.total.of(statistic) for timing in session.references]
