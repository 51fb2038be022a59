"""The front of a finished search: its members with what was measured, and the best within a limit.

In: a `SearchResult`. Out: `Candidate`s. This file searches and measures nothing.
"""

from collections.abc import Sequence

from ..records import Candidate, SearchResult
from .quality import inherited_quality


def front_members(result: SearchResult) -> tuple[Candidate, ...]:
    """The front, fastest first; who was a finalist too comes with what was measured of it.

    Member `i` of the tuple is number `i + 1` of the front, as users name it.
    """
    finalists = (*result.finalists, result.winner)
    measured = {x.arch.key: x for x in finalists if x.measured_ms is not None}
    return tuple(_with_measured(x, measured.get(x.arch.key, x)) for x in result.front)


def _with_measured(member: Candidate, finalist: Candidate) -> Candidate:
    found = {
        "measured_ms": finalist.measured_ms,
        "measured_memory_bytes": finalist.measured_memory_bytes,
    }
    return member.model_copy(update=found)


def needed_ms(candidate: Candidate) -> float | None:
    """The lowest latency limit that a candidate is taken for: the predicted latency or, where it is
    higher, the measured one. None without a prediction.
    """
    if candidate.predicted_ms is None:
        return None
    return max(candidate.predicted_ms, candidate.measured_ms or 0.0)


def best_within(members: Sequence[Candidate], limit_ms: float) -> int | None:
    """Position of the best candidate that keeps a latency limit as predicted and, where
    it was measured, as measured; None if none does.

    Examples
    --------
    >>> best_within([], 18.0)
    """
    needed = [needed_ms(x) for x in members]
    kept = [i for i, ms in enumerate(needed) if ms is not None and ms <= limit_ms]
    return min(kept, key=lambda i: inherited_quality(members[i]), default=None)
