"""Which subnet `--pick` means."""

import re
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from ..config.units import parse_duration_ms
from ..errors import ConfigError, InfeasibleError
from ..printable import LEAST, figure_note, latency, milliseconds, predicted
from ..records import Candidate, SearchResult
from ..spaces.genes import ArchConfig
from .context import Progress
from .trained_run import TrainedRun

_NUMBER = re.compile(r"-?[0-9]{1,6}")  # the key of an architecture may be of digits too
_DURATION = re.compile(r"[0-9.]+\s*(us|ms|s)")


@dataclass(frozen=True)
class Picked:
    """A subnet that was picked; `label` is short, for tables, `limit_ms` the limit that it was
    picked by, if it was.
    """

    arch: ArchConfig
    label: str
    limit_ms: float | None = None


def pick(state: TrainedRun, name: str, progress: Progress) -> Picked:
    """Find the subnet that a name means, and say of a member of the front what its latency is."""
    from ..search.front import front_members

    is_number = _NUMBER.fullmatch(name) is not None
    if not (is_number or _DURATION.fullmatch(name)):
        return Picked(state.arch(name), Path(name).stem)
    search = state.search_result()
    members = front_members(search)
    limit_ms = None if is_number else parse_duration_ms(name)
    i = int(name) - 1 if limit_ms is None else _within(search, members, limit_ms)
    if not 0 <= i < len(members):
        raise ConfigError(
            f"'{name}' is no number of the search's front: write 1 (the fastest) to "
            f"{len(members)}, or a latency with its unit, such as 18ms"
        )
    progress.say(f"picked {i + 1} of the front: {_latency(members[i], search)}")
    return Picked(members[i].arch, f"front {i + 1}", limit_ms)


def _within(search: SearchResult, members: tuple[Candidate, ...], limit_ms: float) -> int:
    from ..search.front import best_within, needed_ms

    numbers = {i: ms for i, x in enumerate(members, 1) if (ms := needed_ms(x)) is not None}
    if not numbers:
        raise ConfigError(
            "the search had no latency predictor, so its front has no latencies; pick by number, 1 "
            f"to {len(members)}"
        )
    i = best_within(members, limit_ms)
    if i is None:
        number, least_ms = min(numbers.items(), key=itemgetter(1))
        raise InfeasibleError(
            f"no member of the front keeps {latency(limit_ms)}{figure_note(search.statistic)}: the "
            f"fastest takes {latency(least_ms, 4, LEAST)} on {search.device}; pick it as {number}, "
            "or search again with a lower limit",
            least_ms,
        )
    return i


def _latency(candidate: Candidate, search: SearchResult) -> str:
    if candidate.predicted_ms is None:
        return f"its latency on {search.device} is not known"
    figure = figure_note(search.statistic)
    measured = "not measured"
    if candidate.measured_ms is not None:
        measured = f"measured {milliseconds(candidate.measured_ms)}"
    time = f"{predicted(search.level)} {milliseconds(candidate.predicted_ms)}{figure}"
    return f"{time} on {search.device}, {measured}"
