"""What candidates are compared by, the front of a search, its finalists and its winner."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ..config.units import Statistic
from ..errors import InfeasibleError
from ..printable import byte_size, figure_note, latency, told_apart
from ..records import Candidate, Limits, SearchResult
from ..spaces.genes import ArchConfig
from .constraints import utilisation

Quality = tuple[float, int, int]


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
    return candidate.base_loss, -num_layers(candidate), -candidate.num_body_parameters


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


@dataclass(frozen=True)
class Evolution:
    """All candidates of a search, the best first, and its front."""

    ranked: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    evaluated: frozenset[ArchConfig]

    @property
    def num_evaluated(self) -> int:
        """Count the architectures whose losses were computed."""
        return len(self.evaluated)

    def with_candidates(
        self, found: Sequence[Candidate], evaluated: Iterable[ArchConfig]
    ) -> "Evolution":
        """Add candidates, or replace those of the same architectures."""
        replaced = {candidate.arch for candidate in found}
        left = [candidate for candidate in self.ranked if candidate.arch not in replaced]
        ranked = sorted(
            [*found, *left], key=lambda c: (*quality(c), c.predicted_ms or 0.0, c.arch.key)
        )
        return replace(
            self,
            ranked=tuple(ranked),
            front=pareto_front(ranked),
            evaluated=self.evaluated.union(evaluated),
        )


def finalists(
    evolution: Evolution,
    limits: Limits,
    count: int,
    exclude: Collection[str] = (),
    margin: float = 0.1,
) -> list[Candidate]:
    """Choose the candidates to measure: low losses, further and further below the limit."""
    known = set(exclude)
    front = {candidate.arch.key for candidate in evolution.front}
    left = [candidate for candidate in evolution.ranked if candidate.arch.key not in known]
    # a stable sort: by loss within each half
    left.sort(key=lambda candidate: candidate.arch.key not in front)
    chosen: list[Candidate] = []
    for i in range(min(count, len(left))):
        ceiling = math.inf
        if limits.max_latency_ms is not None:
            # in even steps from the limit to limit * (1 - margin); a single finalist has the limit
            # itself, and after others what lies below
            share = i / (count - 1) if count > 1 else float(bool(exclude))
            ceiling = limits.max_latency_ms * (1.0 - margin * share)
        # without a predictor no latency is known, and all pass
        fast = [candidate for candidate in left if (candidate.predicted_ms or 0.0) <= ceiling]
        # where none is fast enough, the best of those that are left
        chosen.append((fast or left)[0])
        left.remove(chosen[-1])
    return chosen


def choose_winner(
    measured: Sequence[Candidate],
    limits: Limits,
    margin: float = 0.0,
    statistic: Statistic = "median",
) -> Candidate:
    """Return the candidate of lowest loss that keeps the limits as measured."""
    timed = [c for c in measured if c.measured_ms is not None]
    kept = [c for c in timed if _keeps(c, limits)]
    if kept:
        safe = [c for c in kept if is_safe(c, limits, margin)]
        if safe:
            # of equal ones the faster
            return min(safe, key=lambda c: (*quality(c), c.measured_ms, c.arch.key))
        # so near the limit a wider one is not worth its time, a deeper one is
        return min(kept, key=lambda c: (quality(c)[:2], c.measured_ms, c.arch.key))
    raise _none_keeps(measured, limits, statistic)


def _none_keeps(
    measured: Sequence[Candidate], limits: Limits, statistic: Statistic
) -> InfeasibleError:
    """Name the latency of the fastest and the memory that exceeds its limit, beside the limits."""
    timed = [c for c in measured if c.measured_ms is not None]
    if not timed:
        return InfeasibleError(
            f"none of the {len(measured)} finalists could be measured; "
            "run `mosdeploy devices check`"
        )
    most_ms = limits.max_latency_ms or math.inf
    fastest = min(timed, key=lambda c: c.measured_ms or 0.0)
    fastest_ms = fastest.measured_ms or 0.0
    is_slow = fastest_ms > most_ms
    found = latency(fastest_ms)
    limit = ""
    if limits.max_latency_ms is not None:
        found, most = told_apart(latency, fastest_ms, most_ms)
        limit = f", the limit is {most}"
    if limits.max_memory_bytes is not None:
        least_bytes = min(map(_memory_bytes, timed))
        name, memory_bytes = "the least memory", least_bytes
        if least_bytes <= limits.max_memory_bytes and not is_slow:
            # others keep this limit, and are too slow
            name, memory_bytes = "its memory", _memory_bytes(fastest)
        if memory_bytes > limits.max_memory_bytes:
            taken, most = told_apart(byte_size, memory_bytes, limits.max_memory_bytes)
            limit += f", and {name} was {taken}, the limit is {most}"
    remedy = "raise the limit"
    if is_slow:  # memory is counted, and no predictor of latencies is closer to it
        remedy += (
            ", or measure more subnets with `mosdeploy profile --budget` for a closer predictor"
        )
    return InfeasibleError(
        f"none of the {len(timed)} finalists keeps the limits as measured: the fastest took "
        f"{found}{figure_note(statistic)}{limit}; {remedy}",
        fastest_latency_ms=fastest_ms,
    )


def is_safe(candidate: Candidate, limits: Limits, margin: float) -> bool:
    """Whether a measured candidate keeps all limits, and the latency limit by a margin."""
    if candidate.measured_ms is None:
        return False
    slower = candidate.model_copy(update={"measured_ms": candidate.measured_ms * (1 + margin)})
    return _keeps(slower, limits)


def _keeps(candidate: Candidate, limits: Limits) -> bool:
    """Whether a candidate keeps all limits, with its latency and memory as measured."""
    measured = candidate.model_copy(update={"memory_bytes": _memory_bytes(candidate)})
    return all(share <= 1 for share in utilisation(limits, measured.measured_ms, measured).values())


def _memory_bytes(candidate: Candidate) -> int:
    """Return the memory as measured, else as predicted."""
    if candidate.measured_memory_bytes is None:
        return candidate.memory_bytes
    return candidate.measured_memory_bytes
