"""What happens on the boards of a fleet while they measure, in the order in which it happens."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import MosdeployError
from ..records import DeviceState, Measurement
from .job import AgentResult


@dataclass(frozen=True)
class Started:
    """A board starts to measure; `state` is from before."""

    host: str
    state: DeviceState


@dataclass(frozen=True)
class Uploading:
    """A model is being built for a board and sent there."""

    host: str
    key: str


@dataclass(frozen=True)
class ResultReceived:
    """A result was read from a board: one of the reference, or of a subnet that may not be accepted
    yet.
    """

    host: str
    result: AgentResult


@dataclass(frozen=True)
class Accepted:
    """A measurement that counts."""

    host: str
    key: str
    measurement: Measurement


@dataclass(frozen=True)
class Message:
    """A message of one line: the connection was cut, or timings are repeated."""

    host: str
    message: str


@dataclass(frozen=True)
class Repeating:
    """A board is not stable, and measures some keys again: `target_counts` is how many results each
    of them is to have.
    """

    host: str
    target_counts: Mapping[str, int]


@dataclass(frozen=True)
class Finished:
    """A board has measured the keys that it took; `state` is from just after."""

    host: str
    state: DeviceState


@dataclass(frozen=True)
class Failed:
    """A board failed; its unfinished keys go to the others."""

    host: str
    error: MosdeployError


Event = Started | Uploading | ResultReceived | Accepted | Message | Repeating | Finished | Failed
