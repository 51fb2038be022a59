"""Decide which timings count, those between two timings of the reference that agree; join them."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..config.device import MeasureProtocol
from ..records import Measurement, Timing
from .job import AgentResult
from .on_device.agent import REFERENCE

N = TypeVar("N", int, float)

PAUSE_S = 3600.0
"""Between two results: what comes after it is judged by itself."""

MAX_RETRIES = 2
"""How often a subnet is measured beyond its rounds."""


def is_new_session(before: AgentResult, after: AgentResult) -> bool:
    """Whether a result was made long after another of the same device; of one whose clock was set
    meanwhile, the time since its start tells.
    """
    if before.boot_id and before.boot_id == after.boot_id:
        first_s = before.uptime_s
        then_s = after.uptime_s
    else:
        first_s = before.made_s
        then_s = after.made_s
    return first_s is not None and then_s is not None and abs(then_s - first_s) > PAUSE_S


class DriftWatch:
    """Holds results back until the reference after them is known and a subnet has all its
    rounds.
    """

    def __init__(
        self, keys: Iterable[str], protocol: MeasureProtocol, *, has_reference: bool = True
    ) -> None:
        self.target_counts = dict.fromkeys(keys, protocol.rounds)
        self._protocol = protocol
        self._has_reference = has_reference
        num_results = len(self.target_counts) * protocol.rounds
        self._retry_budget = max(protocol.reference_every, num_results // 2)
        self._attempts: Counter[str] = Counter()
        self._rounds: dict[str, list[Measurement]] = {key: [] for key in self.target_counts}
        self._held_back: list[AgentResult] = []
        self._last_reference_ms: float | None = None
        self._all_reference_ms: list[float] = []
        self._last: AgentResult | None = None

    def add(self, result: AgentResult) -> list[tuple[str, Measurement]]:
        """Take the next result; returns the measurements that are accepted because of it."""
        before, self._last = self._last, result
        if before is not None and is_new_session(before, result):
            self._last_reference_ms = None
            self._all_reference_ms = []
        if result.key == REFERENCE:
            return self._add_reference(result.measurement)
        if result.key not in self.target_counts:
            return []
        self._attempts[result.key] += 1
        # of a first failure there is nothing to keep
        if result.measurement.error is not None and self._attempts[result.key] == 1:
            return [self._accept(result.key, result.measurement)]
        if not self._has_reference:
            return self._add_round(result, {})
        self._held_back.append(result)
        return []

    def _add_reference(self, reference: Measurement) -> list[tuple[str, Measurement]]:
        """Judge the results since the last timing of the reference by this one."""
        before_ms = self._last_reference_ms
        after_ms = reference.total.median_ms if reference.total else None
        judged: dict[str, Any] = {}
        if after_ms is not None:
            self._all_reference_ms.append(after_ms)
            if before_ms is not None:
                judged = self._judged(before_ms, after_ms)
        results = self._held_back
        self._held_back = []
        self._last_reference_ms = after_ms
        accepted = []
        for result in results:
            if result.key in self.target_counts:  # not accepted since, by another of these results
                accepted += self._add_round(result, judged)
        return accepted

    def _judged(self, before_ms: float, after_ms: float) -> dict[str, Any]:
        """What two timings of the reference say of a measurement made between them."""
        most_percent = self._protocol.max_drift_percent
        usual_ms = statistics.median(self._all_reference_ms)
        moved_percent = 100 * abs(after_ms / before_ms - 1)
        # from one timing to the next or from the usual one
        drift_percent = max(
            moved_percent, *(100 * abs(ms / usual_ms - 1) for ms in (before_ms, after_ms))
        )
        return {
            "drift_percent": drift_percent,
            "flagged": drift_percent > most_percent,
            "reference_ms": None if moved_percent > most_percent else (before_ms + after_ms) / 2,
        }

    def _add_round(
        self, result: AgentResult, judged: Mapping[str, Any]
    ) -> list[tuple[str, Measurement]]:
        """Take a round and what the reference says of it; accept its subnet, or ask for one more
        result.
        """
        key = result.key
        rounds = self._rounds[key]
        rounds.append(result.measurement.model_copy(update=judged))
        if len(rounds) < self.target_counts[key]:
            return []
        timed = [each for each in rounds if each.error is None]
        failed = [each for each in rounds if each.error is not None]
        stable = [each for each in timed if not each.flagged]
        enough = 2 * len(stable) > self._protocol.rounds
        may_retry = len(rounds) < self._protocol.rounds + MAX_RETRIES and self._retry_budget > 0
        if not enough and may_retry:
            self._retry_budget -= 1
            self.target_counts[key] = len(rounds) + 1
            return []
        if len(failed) > len(timed):
            return [self._accept(key, failed[-1])]
        least_disturbed = min(timed, key=lambda each: each.drift_percent or 0.0)
        return [self._accept(key, aggregate_rounds(stable or [least_disturbed]))]

    def _accept(self, key: str, measurement: Measurement) -> tuple[str, Measurement]:
        del self.target_counts[key]
        return key, measurement.model_copy(update={"attempts": self._attempts[key]})


def aggregate_rounds(rounds: Sequence[Measurement]) -> Measurement:
    """Join rounds that did not fail, figure by figure; a single one stays as it is."""
    if len(rounds) == 1:
        return rounds[0]
    totals = [each.total for each in rounds if each.total]
    names = dict.fromkeys(name for each in rounds for name in each.parts)
    parts = {name: [each.parts[name] for each in rounds if name in each.parts] for name in names}
    return Measurement(
        total=_join(totals) if totals else None,
        parts={name: _join(timings) for name, timings in parts.items()},
        load_ms=_median([each.load_ms for each in rounds]),
        peak_memory_bytes=_largest([each.peak_memory_bytes for each in rounds]),
        memory_bytes=_largest([each.memory_bytes for each in rounds]),
        drift_percent=_largest([each.drift_percent for each in rounds]),
        reference_ms=_median([each.reference_ms for each in rounds]),
        rounds=len(rounds),
    )


def _join(timings: Sequence[Timing]) -> Timing:
    medians = {
        name: _median([getattr(timing, name) for timing in timings])
        for name in ("median_ms", "p90_ms", "p99_ms", "interval_percent", "cpu_ms")
    }
    return timings[0].model_copy(
        update={
            **medians,
            "minimum_ms": min(timing.minimum_ms for timing in timings),
            "repeats": sum(timing.repeats for timing in timings),
        }
    )


def _median(values: Sequence[float | None]) -> float | None:
    """Median of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _largest(values: Sequence[N | None]) -> N | None:
    """The largest of those that are known."""
    return max((value for value in values if value is not None), default=None)
