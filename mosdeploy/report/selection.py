"""The subnets that a reader can choose from, and the costs that a limit can be on."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..record import Record
from ..records import SearchResult
from ..spaces import AnyArch
from .cells import device_name

FAR = 1.5
"""A limit of the search is drawn up to so many times the highest cost."""


class DeviceLatency(Record):
    """Latency of one subnet on one device; `error_percent` is the mean error of the predictor in
    cross-validation, `needed_ms` the lowest limit that the subnet keeps.
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
    is_enlarged: bool = False
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
    """A cost that there can be a limit on; each tuple has a value for each choice."""

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
        # values that differ in the seventh digit are one position
        raw = (span if span > 1e-6 * self.known[-1] else self.known[-1]) / 100
        power = 10.0 ** math.floor(math.log10(raw))
        return next(power * factor for factor in (10, 5, 2, 1) if power * factor <= raw * 1.001)

    @property
    def decimals(self) -> int:
        """Decimals that tell two steps apart."""
        return max(0, -math.floor(math.log10(self.step) + 1e-9))

    def above(self, value: float) -> float:
        """Return the lowest position of the slider that is not below a value."""
        return round(math.ceil(value / self.step - 1e-6) * self.step, 12)

    @property
    def low(self) -> float:
        """First position of the slider: the cheapest choice keeps it."""
        return self.above(self.known[0])

    @property
    def high(self) -> float:
        """Last position of the slider: all choices keep it."""
        return self.above(max(self.known[-1], self.limit or 0.0))


def axes_of(choices: Sequence[Choice], search: SearchResult, note: str = "") -> tuple[Axis, ...]:
    """List the costs that are known: latency on each device, parameters, size, memory.

    `note` stands behind the title of the latency on the device of the search.
    """
    limits = search.limits
    figure = "latency" if search.statistic == "median" else f"{search.statistic} of the latency"
    axes = []
    for i, device in enumerate(x.device for x in choices[0].latencies):
        latencies = [x.latencies[i] for x in choices]
        is_searched = device == search.device
        axis = Axis(
            name=f"latency:{device}",
            title=f"{figure} on {device_name(device)}{note if is_searched else ''}",
            unit="ms",
            needed=tuple(x.needed_ms for x in latencies),
            drawn=tuple(x.predicted_ms for x in latencies),
            measured=tuple(x.measured_ms for x in latencies),
            limit=limits.max_latency_ms if is_searched else None,
        )
        axes.append(axis)
    nothing = (None,) * len(choices)
    counts = _scaled((x.num_parameters for x in choices), 1e6)
    most = limits.max_parameters and limits.max_parameters / 1e6
    axes.append(Axis("parameters", "parameters", "M", counts, counts, nothing, most))
    sizes = _scaled((x.size_bytes for x in choices), 2**20)
    most = limits.max_size_bytes and limits.max_size_bytes / 2**20
    axes.append(Axis("size", "size", "MiB", sizes, sizes, nothing, most))
    most = limits.max_memory_bytes and limits.max_memory_bytes / 2**20
    axes.append(_memory_axis(choices, most))
    return tuple(_without_far_limit(axis) for axis in axes if axis.known)


def _memory_axis(choices: Sequence[Choice], limit: float | None) -> Axis:
    predicted = _scaled((x.memory_bytes for x in choices), 2**20)
    measured = _scaled((x.measured_memory_bytes for x in choices), 2**20)
    # the runtime takes memory too, which no prediction counts: add the most that was seen
    pairs = list(zip(predicted, measured, strict=True))
    excess = [more - mib for mib, more in pairs if mib is not None and more is not None]
    added = max([0.0, *excess])
    drawn = tuple(None if mib is None else mib + added for mib in predicted)
    needed = tuple(mib if more is None else more for mib, more in zip(drawn, measured, strict=True))
    title = "memory of the process" if excess else "memory"
    return Axis("memory", title, "MiB", needed, drawn, measured, limit)


def _without_far_limit(axis: Axis) -> Axis:
    is_far = axis.limit is not None and axis.limit > FAR * axis.known[-1]
    return replace(axis, limit=None) if is_far else axis


def _scaled(values: Iterable[int | None], unit: float) -> tuple[float | None, ...]:
    return tuple(None if x is None else x / unit for x in values)
