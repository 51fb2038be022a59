"""Which candidates are measured on the device, and which of them wins."""

import math
from collections.abc import Callable, Collection, Sequence

from ..config.units import Statistic
from ..errors import InfeasibleError
from ..printable import byte_size, figure_note, latency, told_apart
from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig
from .constraints import utilisation
from .evolution import Evolution
from .oracle import Cost
from .quality import inherited_quality, quality, size_of


def finalists(
    evolution: Evolution,
    limits: Limits,
    count: int,
    exclude: Collection[str] = (),
    margin: float = 0.1,
) -> list[Candidate]:
    """Choose the candidates to measure: low losses, at predicted latencies that go further and
    further below the limit.
    """
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


def largest_of_each_depth(
    candidates: Sequence[Candidate],
    count: int,
    depths: Callable[[ArchConfig], tuple[int, ...]],
    exclude: Collection[tuple[int, ...]] = (),
) -> list[Candidate]:
    """Choose candidates of different depths, each with the most parameters of its depth that are
    not the embedding table's.
    """
    largest: dict[tuple[int, ...], Candidate] = {}
    for candidate in sorted(candidates, key=size_of, reverse=True):
        depth = depths(candidate.arch)
        if depth not in exclude:
            largest.setdefault(depth, candidate)
    return list(largest.values())[:count]


def finalists_to_train(
    by_loss: Sequence[Candidate],
    by_size: Sequence[Candidate],
    count: int,
    depths: Callable[[ArchConfig], tuple[int, ...]],
    exclude: Collection[tuple[int, ...]] = (),
) -> list[Candidate]:
    """Choose what is trained alone before it wins: half by inherited loss, half by size."""
    # of one that was widened step by step, the first
    different = {(inherited_quality(c)[0], depths(c.arch)): c for c in reversed(by_loss)}
    best = sorted(different.values(), key=inherited_quality)[: (count + 1) // 2]
    taken = {*exclude, *(depths(candidate.arch) for candidate in best)}
    return best + largest_of_each_depth(by_size, count - len(best), depths, taken)


def choose_winner(
    measured: Sequence[Candidate],
    limits: Limits,
    margin: float = 0.0,
    statistic: Statistic = "median",
) -> Candidate:
    """The candidate of lowest loss that keeps the limits as measured; one without `measured_ms`
    cannot win.
    """
    timed = [c for c in measured if c.measured_ms is not None]
    kept = [c for c in timed if _keeps(c, limits)]
    if kept:
        safe = [c for c in kept if is_safe(c, limits, margin)]
        if safe:
            # of equal ones the faster
            return min(safe, key=lambda c: (*quality(c), c.measured_ms, c.arch.key))
        # so near the limit a wider one is not worth its time, a deeper one is
        return min(kept, key=lambda c: (quality(c)[:3], c.measured_ms, c.arch.key))
    raise _none_keeps(measured, limits, statistic)


def _none_keeps(
    measured: Sequence[Candidate], limits: Limits, statistic: Statistic
) -> InfeasibleError:
    """What the fastest took and the smallest held, beside the limits."""
    timed = [c for c in measured if c.measured_ms is not None]
    if not timed:
        return InfeasibleError(
            f"none of the {len(measured)} finalists could be measured; "
            "run `mosdeploy devices check`"
        )
    most_ms = limits.max_latency_ms
    most_bytes = limits.max_memory_bytes
    fastest = min(timed, key=_measured_ms)
    fastest_ms = _measured_ms(fastest)
    told, limit = latency(fastest_ms), ""
    if most_ms is not None:
        told, most = told_apart(latency, fastest_ms, most_ms)
        limit = f", the limit is {most}"
    is_slow = most_ms is not None and fastest_ms > most_ms
    least_bytes = min(map(_memory_bytes, timed))
    if most_bytes is not None and least_bytes > most_bytes:
        least, most = told_apart(byte_size, least_bytes, most_bytes)
        limit += f", and the least memory was {least}, the limit is {most}"
    elif most_bytes is not None and not is_slow and _memory_bytes(fastest) > most_bytes:
        # others keep that limit, and are too slow
        own, most = told_apart(byte_size, _memory_bytes(fastest), most_bytes)
        limit += f", and its memory was {own}, the limit is {most}"
    remedy = "raise the limit"
    if is_slow:  # memory is counted, and no predictor of latencies is closer to it
        remedy += (
            ", or measure more subnets with `mosdeploy profile --budget` for a closer predictor"
        )
    return InfeasibleError(
        f"none of the {len(timed)} finalists keeps the limits as measured: the fastest took "
        f"{told}{figure_note(statistic)}{limit}; {remedy}",
        fastest_latency_ms=fastest_ms,
    )


def _measured_ms(candidate: Candidate) -> float:
    return math.inf if candidate.measured_ms is None else candidate.measured_ms


def is_safe(candidate: Candidate, limits: Limits, margin: float) -> bool:
    """Whether a measured candidate keeps all limits, and the latency limit by a margin."""
    if candidate.measured_ms is None:
        return False
    slower = candidate.model_copy(update={"measured_ms": candidate.measured_ms * (1 + margin)})
    return _keeps(slower, limits)


def _keeps(candidate: Candidate, limits: Limits) -> bool:
    """Whether a candidate keeps all limits, with its latency and memory as measured."""
    cost = Cost(
        num_parameters=candidate.num_parameters,
        size_bytes=candidate.size_bytes,
        num_body_parameters=size_of(candidate),
        memory_bytes=_memory_bytes(candidate),
    )
    return all(share <= 1 for share in utilisation(limits, candidate.measured_ms, cost).values())


def _memory_bytes(candidate: Candidate) -> int:
    """As measured, else as predicted; of an older record, that tells neither, the bundle's."""
    known = (candidate.measured_memory_bytes, candidate.memory_bytes, candidate.size_bytes)
    return next(found for found in known if found is not None)
