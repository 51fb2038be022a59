"""The winner of a search as the device says: finalists measured there, the winner timed again."""

import contextlib
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import InfeasibleError
from ..printable import byte_size
from ..records import Candidate, Limits
from ..run_folder.context import Context
from ..spaces.genes import ArchConfig
from .finalist_timing import FinalistTiming

if TYPE_CHECKING:
    from ..latency.predictor import LatencyPredictor
    from ..search import Evolution

MAX_ROUNDS = 3
"""How often finalists are measured: further ones when none of those before kept the limit by more
than the noise of the device, or when better ones are expected to.
"""
MAX_STEP = 0.25
"""How far below the limit the first finalists go at most, as a share, whatever a predictor's error:
further ones know from these how far off it is.
"""
UNUSED = 0.2
"""What may remain of a limit beside the noise, as a share: where a winner leaves more, and better
ones are expected to keep the limit after all, they are measured.
"""
ROOM = 0.05
"""How far below the limit the fastest subnet is put where it is predicted above it, as a share: its
neighbours are then within the limit too.
"""


def first_evolution(
    context: Context,
    limits: Limits,
    predictor: "LatencyPredictor | None",
    evolve: "Callable[[float, int], Evolution]",
) -> "tuple[Evolution, float]":
    """What a search sees first, and its level: 1 or, where nothing is predicted to keep the latency
    limit, a lower one, at which subnets are that may keep it as measured.
    """
    try:
        return evolve(1.0, 0), 1.0
    except InfeasibleError as error:
        fastest_ms = error.fastest_latency_ms
        limit_ms = limits.max_latency_ms
        if predictor is None or fastest_ms is None or limit_ms is None:
            raise
        space = context.config.space
        rows = predictor.to_rows(space.genes([space.smallest]))
        least = math.exp(-predictor.half_width(rows).item())
        needed = limit_ms / fastest_ms
        # at 1 or above another limit ended it
        if not least <= needed < 1.0:
            raise
        context.progress.say(f"{error}. Some may keep it as measured: the fastest are timed")
        level = max(least, needed * (1 - ROOM))
        return evolve(level, 0), level


@dataclass
class FinalistVerification:
    """Finalists of one search on one device."""

    timing: FinalistTiming
    limits: Limits
    evolution: "Evolution"
    predictor: "LatencyPredictor | None"
    evolve: "Callable[[float, int], Evolution]"
    train: "Callable[[Sequence[ArchConfig]], list[float]] | None" = None
    measured: list[Candidate] = field(default_factory=list)
    level: float = 1.0
    excess_bytes: int = 0
    _ratios: list[float] = field(default_factory=list)
    _drifts: list[float] = field(default_factory=list)

    @property
    def context(self) -> Context:
        """The run folder, and who is told of progress."""
        return self.timing.context

    def run(self) -> tuple[Candidate, list[Candidate]]:
        """Measure; returns the winner and all that were measured."""
        try:
            winner = self._winner_of_a_pass()
            if not self._leaves_much(winner):
                return winner, self.measured
        except InfeasibleError:
            if not self._drifts:
                raise
            winner = None
        # between the two timings the device has become slower, or quieter again
        drift = statistics.median(self._drifts)
        self._ratios = [ratio * drift for ratio in self._ratios]
        self._correct_predictions()
        if winner is None or self._next_finalists(attempt=1):
            winner = self._winner_of_a_pass()
        # as it stands beside what is predicted now
        known = {candidate.arch: candidate for candidate in self.measured}
        return known[winner.arch], self.measured

    def _winner_of_a_pass(self) -> Candidate:
        self._measure_finalists()
        if self.train is not None:
            self._train_finalists(self.train)
        return self._winner_timed_again()

    def _leaves_much(self, winner: Candidate) -> bool:
        most_ms = (self.limits.max_latency_ms or 0.0) / (1 + self.timing.noise)
        return (winner.measured_ms or 0.0) < (1 - UNUSED) * most_ms

    def _measure_finalists(self) -> None:
        """In bounded rounds, until one keeps the limit by more than the noise and no better one is
        expected to.
        """
        for attempt in range(1, MAX_ROUNDS + 1):
            chosen = self._next_finalists(attempt)
            if not chosen:
                break
            timed = self.timing.timed(chosen, self.timing.first_path)
            self.measured += timed
            ratios = [
                self.level * c.measured_ms / c.predicted_ms
                for c in timed
                if c.measured_ms and c.predicted_ms
            ]
            # of the quietest round: in others, the device may have been busy
            rounds = [found for found in (self._ratios, ratios) if found]
            self._ratios = min(rounds, key=statistics.median, default=[])
            if attempt < MAX_ROUNDS:
                self._correct_predictions()

    def _next_finalists(self, attempt: int) -> list[Candidate]:
        """Each round goes further below the limit than the one before, until one keeps it; then
        better ones that are expected to keep it, and if finalists are trained, the largest
        of other depths.
        """
        from ..search import choose_winner, finalists, finalists_to_train, inherited_quality

        config = self.context.config
        count = config.search.finalists
        known = {candidate.arch.key for candidate in self.measured}
        left = [c for c in self.evolution.ranked if c.arch.key not in known]
        safe = self._safe()
        if not safe:
            margin = attempt * min(self._predictor_error, MAX_STEP)
            if self.train is not None:
                count = max(1, count // 2)
            return finalists(self.evolution, self.limits, count, exclude=known, margin=margin)
        best = choose_winner(safe, self.limits)
        limit_ms = self.limits.max_latency_ms or math.inf
        fast = [c for c in left if (c.predicted_ms or 0.0) * (1 + self.timing.noise) <= limit_ms]
        better = [c for c in fast if inherited_quality(c) < inherited_quality(best)]
        if self.train is not None:
            depths = config.space.depths
            taken = {depths(c.arch) for c in safe}
            return finalists_to_train(better, fast, max(0, count - len(safe)), depths, taken)
        return better[:count]

    @property
    def _predictor_error(self) -> float:
        """By how much, as a share, the members of the front may take longer than predicted."""
        front = [candidate.arch for candidate in self.evolution.front]
        if self.predictor is None or not front:
            return 0.0
        rows = self.predictor.to_rows(self.context.config.space.genes(front))
        half_widths = self.predictor.half_width(rows)
        return math.expm1(statistics.median(half_widths))

    def _safe(self) -> list[Candidate]:
        """Those that keep the limits as measured, by more than the noise."""
        from ..search import is_safe

        return [c for c in self.measured if is_safe(c, self.limits, self.timing.noise)]

    def _train_finalists(self, train: "Callable[[Sequence[ArchConfig]], list[float]]") -> None:
        """Half of those that keep the limits by their inherited loss, half by size."""
        from ..search import inherited_quality, size_of

        count = self.context.config.search.finalists
        safe = sorted(self._safe(), key=inherited_quality)
        half = (count + 1) // 2
        others = sorted(safe[half:], key=size_of, reverse=True)
        chosen = [*safe[:half], *others][:count]
        if len(chosen) < 2:
            return
        losses = dict(
            zip((c.arch.key for c in chosen), train([c.arch for c in chosen]), strict=True)
        )
        self.measured = [
            c.model_copy(update={"trained_loss": losses.get(c.arch.key)}) for c in self.measured
        ]

    def _correct_predictions(self) -> None:
        """Search again where the device is not as predicted, by more than its noise."""
        level = self._measured_level()
        excess_bytes = self._measured_excess()
        found = []
        if level != self.level:
            share = abs(level - 1)
            found.append(f"{share:.0%} {'longer' if level > 1 else 'less'}")
        if excess_bytes != self.excess_bytes:
            found.append(f"{byte_size(excess_bytes)} more memory")
        if not found:
            return
        self.context.progress.say(
            f"the finalists took {' and '.join(found)} than predicted: searching again with that"
        )
        try:
            self.evolution = self.evolve(level, excess_bytes)
        except InfeasibleError as error:
            self.context.progress.say(f"{error}; going on with what was found before")
        else:
            # a finalist of before stands beside those that are found now, on the front too
            rescaled = [_rescaled(c, level / self.level) for c in self.measured]
            compared = {c.arch: c.narrow_loss for c in self.evolution.ranked}
            self.measured = [
                c.model_copy(update={"narrow_loss": compared.get(c.arch, c.narrow_loss)})
                for c in rescaled
            ]
            self.level = level
            self.excess_bytes = excess_bytes

    def _measured_level(self) -> float:
        if not self._ratios or self.limits.max_latency_ms is None:
            return self.level
        level = statistics.median(self._ratios)
        return self.level if abs(math.log(level / self.level)) <= self.timing.noise else level

    def _measured_excess(self) -> int:
        """Where a finalist takes more memory than the limit, the most that any took more than was
        predicted of it: a process takes more than weights and activations.
        """
        most = self.limits.max_memory_bytes
        pairs = [(c.measured_memory_bytes or 0, c.memory_bytes or 0) for c in self.measured]
        if most is None or all(measured <= most for measured, _ in pairs):
            return self.excess_bytes
        return max(measured - predicted for measured, predicted in pairs)

    def _winner_timed_again(self) -> Candidate:
        """Of several noisy times the least that keeps the limit is lucky; so the winner, and the
        next one beside it, are timed once more, until the winner is one that was.
        """
        again: set[str] = set()
        while True:
            winner = self._best(self.measured)
            if winner.arch.key in again:
                return winner
            chosen = [winner]
            with contextlib.suppress(InfeasibleError):
                left = [c for c in self.measured if c.arch.key not in again | {winner.arch.key}]
                chosen.append(self._best(left))
            again |= {candidate.arch.key for candidate in chosen}
            found = self.timing.timed(chosen, self.timing.again_path)
            pairs = list(zip(chosen, found, strict=True))
            self._drifts += [
                of.measured_ms / c.measured_ms
                for c, of in pairs
                if of.measured_ms and c.measured_ms
            ]
            worse = {c.arch.key: _worse(c, of) for c, of in pairs}
            self.measured = [worse.get(c.arch.key, c) for c in self.measured]

    def _best(self, measured: Sequence[Candidate]) -> Candidate:
        from ..search import choose_winner

        return choose_winner(measured, self.limits, self.timing.noise, self.timing.statistic)


def _rescaled(candidate: Candidate, ratio: float) -> Candidate:
    if candidate.predicted_ms is None:
        return candidate
    return candidate.model_copy(update={"predicted_ms": candidate.predicted_ms * ratio})


def _worse(first: Candidate, again: Candidate) -> Candidate:
    """Of two timings of one candidate the longer time and the most memory; without a time, it
    cannot win.
    """
    if first.measured_ms is None or again.measured_ms is None:
        return again
    peaks = (first.measured_memory_bytes, again.measured_memory_bytes)
    most = max((peak for peak in peaks if peak is not None), default=None)
    slower = max(first, again, key=lambda candidate: candidate.measured_ms or 0.0)
    return slower.model_copy(update={"measured_memory_bytes": most})
