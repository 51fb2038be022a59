"""What the boards of a fleet have to say while they measure, in the order in which it happens.

In: nothing. Out: the types of `fleet.measure_fleet`; `host` names the board.
"""

from dataclasses import dataclass

from ..errors import DeviceError
from ..records import DeviceState, Measurement
from .job import AgentResult


@dataclass(frozen=True)
class Started:
    """A board begins to measure; `state` is from before."""

    host: str
    state: DeviceState


@dataclass(frozen=True)
class Uploading:
    """A model is on its way to a board."""

    host: str
    key: str


@dataclass(frozen=True)
class ResultReceived:
    """A result was read from a board, one of the reference or of a subnet that may not be settled
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
    """Something worth one line has happened on a board."""

    host: str
    message: str


@dataclass(frozen=True)
class Finished:
    """A board has measured what it took; `state` is from just after."""

    host: str
    state: DeviceState


@dataclass(frozen=True)
class Failed:
    """A board failed; what it had not finished is given to the others."""

    host: str
    error: DeviceError


Event = Started | Uploading | ResultReceived | Accepted | Message | Finished | Failed
