"""What candidates are compared by, the front of a search, and the best of it within a limit."""

from collections.abc import Sequence

from ..records import Candidate, SearchResult

Quality = tuple[float, int, int]


def size_of(candidate: Candidate) -> int:
    """Return the parameters without the embedding table."""
    return candidate.num_body_parameters


def num_layers(candidate: Candidate) -> int:
    """Count the layers of all stacks of an architecture."""
    return sum(len(value) for _, value in candidate.arch if isinstance(value, tuple))


def quality(candidate: Candidate) -> Quality:
    """Return what candidates are ranked by; less is better.

    A candidate that was made deeper or wider than another one stands by the loss of that one, and
    comes before it: the deepest first, of these the widest.
    """
    if candidate.base_loss is None:
        return candidate.loss, 0, 0
    return candidate.base_loss, -num_layers(candidate), -size_of(candidate)


def pareto_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates that no other beats in both latency and loss, fastest first.

    Without latencies, weights count in their place.
    """

    def order(candidate: Candidate) -> tuple[float, Quality, str]:
        cost = candidate.predicted_ms
        if cost is None:
            cost = candidate.num_parameters
        return cost, quality(candidate), candidate.arch.key

    front: list[Candidate] = []
    for candidate in sorted(candidates, key=order):
        # by rising cost: the last on the front is the best of all cheaper ones
        if not front or quality(candidate) < quality(front[-1]):
            front.append(candidate)
    return tuple(front)


def with_winner(front: tuple[Candidate, ...], winner: Candidate) -> tuple[Candidate, ...]:
    """Add a winner that the last search, on corrected predictions, has not seen."""
    if any(candidate.arch == winner.arch for candidate in front):
        return front
    return pareto_front([*front, winner])


def front_members(result: SearchResult) -> tuple[Candidate, ...]:
    """Return the front, fastest first, with what was measured of its members as finalists."""
    finalists = (*result.finalists, result.winner)
    measured = {x.arch.key: x for x in finalists if x.measured_ms is not None}
    members = []
    for member in result.front:
        finalist = measured.get(member.arch.key, member)
        found = {
            "measured_ms": finalist.measured_ms,
            "measured_memory_bytes": finalist.measured_memory_bytes,
        }
        members.append(member.model_copy(update=found))
    return tuple(members)


def needed_ms(candidate: Candidate) -> float | None:
    """Return the lowest latency limit that a candidate is taken for: its latency as measured, else
    as predicted; None without a prediction.
    """
    if candidate.predicted_ms is None:
        return None
    return candidate.measured_ms or candidate.predicted_ms


def best_first(candidates: Sequence[Candidate]) -> list[int]:
    """Return the positions of candidates, the best first."""
    return sorted(range(len(candidates)), key=lambda i: quality(candidates[i]))


def best_within(members: Sequence[Candidate], limit_ms: float) -> int | None:
    """Return the position of the best candidate that keeps a latency limit; None if none does."""
    for i in best_first(members):
        ms = needed_ms(members[i])
        if ms is not None and ms <= limit_ms:
            return i
    return None
