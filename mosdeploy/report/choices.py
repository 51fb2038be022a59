"""What a reader can choose from, and what there can be a limit on."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..record import Record
from ..records import SearchResult
from ..spaces import AnyArch
from .cells import device_name

FAR = 1.5
"""Of the highest cost: how far above it a limit of the search is still drawn."""


class DeviceLatency(Record):
    """Latency of one subnet on one device; `error_percent` is the mean error of the predictor in
    cross-validation, `needed_ms` the lowest limit that the subnet is taken for, by what is
    predicted and what was measured.
    """

    device: str
    predicted_ms: float | None
    error_percent: float | None = None
    measured_ms: float | None
    needed_ms: float | None


class Choice(Record):
    """One subnet of the front, a finalist or the winner."""

    number: int | None
    role: Literal["front", "finalist", "winner"]
    arch: AnyArch
    loss: float
    narrow_loss: float | None = None
    time_loss: float | None = None
    rank: int
    latencies: tuple[DeviceLatency, ...]
    num_parameters: int
    size_bytes: int
    memory_bytes: int | None
    measured_memory_bytes: int | None = None
    scores: dict[str, dict[str, float]]
    command: str | None
    finetune_command: str | None = None


@dataclass(frozen=True)
class Axis:
    """Something that there can be a limit on, in the unit that people read."""

    name: str
    title: str
    unit: str
    needed: tuple[float | None, ...]
    drawn: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    limit: float | None = None

    @property
    def known(self) -> list[float]:
        """The limits that are known, lowest first."""
        return sorted(x for x in self.needed if x is not None)

    @property
    def step(self) -> float:
        """Step of the slider: 1, 2 or 5 times a power of ten, at most a hundredth of its range."""
        span = self.known[-1] - self.known[0]
        # what differs in the seventh digit is one position
        raw = (span if span > 1e-6 * self.known[-1] else self.known[-1]) / 100
        power = 10.0 ** math.floor(math.log10(raw))
        return next(power * factor for factor in (10, 5, 2, 1) if power * factor <= raw * 1.001)

    @property
    def decimals(self) -> int:
        """Decimals that tell two steps apart."""
        return max(0, -math.floor(math.log10(self.step) + 1e-9))

    def above(self, value: float) -> float:
        """The lowest position of the slider that is not below a value."""
        return round(math.ceil(value / self.step - 1e-6) * self.step, 12)

    @property
    def low(self) -> float:
        """Where the slider begins: the cheapest choice keeps it."""
        return self.above(self.known[0])

    @property
    def high(self) -> float:
        """Where the slider ends: all choices keep it."""
        return self.above(max(self.known[-1], self.limit or 0.0))


def axes_of(choices: Sequence[Choice], search: SearchResult, note: str = "") -> tuple[Axis, ...]:
    """What there can be a limit on: the latency on each device that it is known for, parameters,
    size, memory.
    """
    limits = search.limits
    figure = "latency" if search.statistic == "median" else f"{search.statistic} of the latency"
    found = [
        _latency(choices, i, f"{figure} on {device_name(x.device)}")
        for i, x in enumerate(choices[0].latencies)
    ]
    if found and found[0].name == f"latency:{search.device}":
        title = f"{found[0].title}{note}"
        found[0] = replace(found[0], title=title, limit=limits.max_latency_ms)
    found += [
        _counted(choices, "parameters", "M", lambda x: x.num_parameters / 1e6),
        _counted(choices, "size", "MiB", lambda x: x.size_bytes / 2**20),
        _memory(choices),
    ]
    most = {
        "parameters": limits.max_parameters and limits.max_parameters / 1e6,
        "size": limits.max_size_bytes and limits.max_size_bytes / 2**20,
        "memory": limits.max_memory_bytes and limits.max_memory_bytes / 2**20,
    }
    return tuple(
        replace(axis, limit=_near(most.get(axis.name, axis.limit), axis.known))
        for axis in found
        if axis.known
    )


def _near(limit: float | None, known: Sequence[float]) -> float | None:
    """A limit, but None for one that lies so far above all that nothing could be told apart."""
    return None if limit is None or limit > FAR * known[-1] else limit


def _latency(choices: Sequence[Choice], i: int, title: str) -> Axis:
    latencies = [x.latencies[i] for x in choices]
    return Axis(
        name=f"latency:{latencies[0].device}",
        title=title,
        unit="ms",
        needed=tuple(x.needed_ms for x in latencies),
        drawn=tuple(x.predicted_ms for x in latencies),
        measured=tuple(x.measured_ms for x in latencies),
    )


def _memory(choices: Sequence[Choice]) -> Axis:
    """As predicted, with the most that a process was measured to take more than that: the runtime
    takes memory too, of which no prediction tells.
    """
    predicted = _mebibytes(x.memory_bytes for x in choices)
    measured = _mebibytes(x.measured_memory_bytes for x in choices)
    pairs = list(zip(predicted, measured, strict=True))
    excess = [more - mib for mib, more in pairs if mib is not None and more is not None]
    added = max([0.0, *excess])
    drawn = tuple(None if mib is None else mib + added for mib in predicted)
    needed = tuple(mib if more is None else more for mib, more in zip(drawn, measured, strict=True))
    title = "memory of the process" if excess else "memory"
    return Axis("memory", title, "MiB", needed=needed, drawn=drawn, measured=measured)


def _mebibytes(sizes: Iterable[int | None]) -> tuple[float | None, ...]:
    return tuple(None if x is None else x / 2**20 for x in sizes)


def _counted(
    choices: Sequence[Choice], name: str, unit: str, cost: Callable[[Choice], float]
) -> Axis:
    costs = tuple(cost(x) for x in choices)
    return Axis(name, name, unit, needed=costs, drawn=costs, measured=(None,) * len(costs))
