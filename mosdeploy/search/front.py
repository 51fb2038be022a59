"""The front: which candidates are on it; of a finished search, its members with what was measured
and the best within a limit.
"""

from collections.abc import Sequence

from ..records import Candidate, SearchResult
from .quality import best_first, inherited_quality


def pareto_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other beats in both latency and loss, fastest first; without
    latencies, in weights and loss.
    """

    def objective(candidate: Candidate) -> float:
        return (
            candidate.num_parameters if candidate.predicted_ms is None else candidate.predicted_ms
        )

    front: list[Candidate] = []

    def order(candidate: Candidate) -> tuple[float, tuple[float, int, int], str]:
        return objective(candidate), inherited_quality(candidate), candidate.arch.key

    for candidate in sorted(candidates, key=order):
        # by rising objective: the last on the front is the best of all cheaper ones
        if not front or inherited_quality(candidate) < inherited_quality(front[-1]):
            front.append(candidate)
    return tuple(front)


def with_winner(front: tuple[Candidate, ...], winner: Candidate) -> tuple[Candidate, ...]:
    """A front with a winner that its search has not seen, as one with corrected predictions may
    not: the front as it is if that one is on it, or is beaten.
    """
    if any(candidate.arch == winner.arch for candidate in front):
        return front
    return pareto_front([*front, winner])


def front_members(result: SearchResult) -> tuple[Candidate, ...]:
    """The front, fastest first; who was a finalist too comes with what was measured of it, and with
    the loss to which it was trained on.
    """
    finalists = (*result.finalists, result.winner)
    measured = {x.arch.key: x for x in finalists if x.measured_ms is not None}
    return tuple(_with_measured(x, measured.get(x.arch.key, x)) for x in result.front)


def _with_measured(member: Candidate, finalist: Candidate) -> Candidate:
    found = {
        "measured_ms": finalist.measured_ms,
        "measured_memory_bytes": finalist.measured_memory_bytes,
        "trained_loss": finalist.trained_loss,
    }
    return member.model_copy(update=found)


def needed_ms(candidate: Candidate) -> float | None:
    """The lowest latency limit that a candidate is taken for: the measured latency, or where there
    is none the predicted one. None without a prediction.
    """
    if candidate.predicted_ms is None:
        return None
    return candidate.measured_ms or candidate.predicted_ms


def best_within(members: Sequence[Candidate], limit_ms: float) -> int | None:
    """Position of the best candidate that keeps a latency limit as measured, or where it was not
    measured as predicted; None if none does.
    """
    needed = [needed_ms(x) for x in members]
    kept = (i for i in best_first(members) if (ms := needed[i]) is not None and ms <= limit_ms)
    return next(kept, None)
