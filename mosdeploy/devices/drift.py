"""Which timings count: those between two timings of the reference that agree.

In: the results of a job, one at a time, in the order in which the device made them. Out:
measurements that are settled, and how many results of each key are wanted. The same results always
lead to the same decisions, so a host that starts anew decides again what it had decided.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from ..config.device import MeasureProtocol
from ..records import Measurement
from .job import AgentResult
from .on_device.agent import REFERENCE
from .rounds import aggregate_rounds

MAX_AGAIN = 2
"""How often a subnet is measured beyond its rounds."""


class DriftWatch:
    """Holds results back until the reference that follows them is known, and all rounds to a subnet
    are made.

    A round is quiet when the two timings of the reference around it lie no further from each other,
    and from the median of all so far, than the protocol allows, or when one of the two is missing.
    With more than half of its rounds quiet a subnet settles as their median. Else one more is
    wanted, until there were `MAX_AGAIN` or, on a device that is never quiet, half as many as there
    are rounds in all (but at least one stretch) were made again; then what quiet ones there are
    settle, or the least disturbed one, flagged. A failure settles at once.

    Parameters
    ----------
    keys
        What is to settle.
    protocol
        How often each is visited, and how far the reference may move.
    has_reference
        Whether the job times the reference at all; without it, every round counts.

    Attributes
    ----------
    wanted
        How many results each key is to have that is not settled yet.
    """

    def __init__(
        self, keys: Iterable[str], protocol: MeasureProtocol, *, has_reference: bool = True
    ) -> None:
        self.wanted = dict.fromkeys(keys, protocol.rounds)
        self._protocol, self._has_reference = protocol, has_reference
        self._num_spare = max(protocol.reference_every, len(self.wanted) * protocol.rounds // 2)
        self._attempts: Counter[str] = Counter()
        self._visits: dict[str, list[Measurement]] = {key: [] for key in self.wanted}
        self._open: list[AgentResult] = []
        self._reference_ms: float | None = None
        self._all_reference_ms: list[float] = []

    def add(self, result: AgentResult) -> list[tuple[str, Measurement]]:
        """Take the next result; returns what it settles."""
        if result.key == REFERENCE:
            return self._close(result.measurement)
        if result.key not in self.wanted:
            return []
        self._attempts[result.key] += 1
        if result.measurement.error is not None:
            return [self._settle(result.key, result.measurement)]
        if not self._has_reference:
            return self._judge(result, None)
        self._open.append(result)
        return []

    def _close(self, reference: Measurement) -> list[tuple[str, Measurement]]:
        before_ms, after_ms = (
            self._reference_ms,
            reference.total.median_ms if reference.total else None,
        )
        drift = None
        if after_ms is not None:
            self._all_reference_ms.append(after_ms)
            drift = None if before_ms is None else self._drift(before_ms, after_ms)
        stretch: Sequence[AgentResult]
        stretch, self._open, self._reference_ms = self._open, [], after_ms
        return [
            pair
            for result in stretch
            if result.key in self.wanted
            for pair in self._judge(result, drift)
        ]

    def _drift(self, before_ms: float, after_ms: float) -> float:
        """Percent by which the reference moved, from one timing to the next or from its usual one."""
        usual_ms = statistics.median(self._all_reference_ms)
        return 100 * max(
            abs(after_ms / before_ms - 1),
            abs(before_ms / usual_ms - 1),
            abs(after_ms / usual_ms - 1),
        )

    def _judge(self, result: AgentResult, drift: float | None) -> list[tuple[str, Measurement]]:
        key, rounds, num_visits = result.key, self._visits[result.key], self._protocol.rounds
        flagged = drift is not None and drift > self._protocol.max_drift_percent
        rounds.append(
            result.measurement.model_copy(update={"drift_percent": drift, "flagged": flagged})
        )
        if len(rounds) < self.wanted[key]:
            return []
        quiet = [round_ for round_ in rounds if not round_.flagged]
        if (
            2 * len(quiet) <= num_visits
            and len(rounds) < num_visits + MAX_AGAIN
            and self._num_spare > 0
        ):
            self._num_spare -= 1
            self.wanted[key] = len(rounds) + 1
            return []
        return [
            self._settle(
                key,
                aggregate_rounds(
                    quiet or [min(rounds, key=lambda round_: round_.drift_percent or 0.0)]
                ),
            )
        ]

    def _settle(self, key: str, found: Measurement) -> tuple[str, Measurement]:
        del self.wanted[key]
        return key, found.model_copy(update={"attempts": self._attempts[key]})
