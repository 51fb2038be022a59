"""Everything that mosdeploy raises on purpose, and the exit code of each.

    MosdeployError                 1   anything below, and what has no better name (a full disk)
    ├── ConfigError                3   a TOML file, an option or the data is wrong
    │   └── UnknownKeyError            a key is unknown: mistyped, or of another version
    ├── ArchError                  3   an architecture is not in its search space
    ├── StaleInputError            4   a record is missing, corrupt, or made from something else
    │   ├── DamagedError               a file is not the one that its card was written for
    │   ├── UnreadableError            a file is there, and the disk or its rights refuse it
    │   └── OtherConditionsError       latencies were measured under other conditions than now
    ├── DeviceError                5
    │   ├── ConnectError               host not found, refused, unreachable
    │   ├── HostKeyError               unknown or changed host key
    │   ├── AuthError                  no key was accepted
    │   ├── CommandError               a command ran on the device and failed (disk full)
    │   ├── ConnectionLostError        the connection ended while a command ran
    │   ├── DeviceTimeoutError         no answer within the time-out
    │   │   └── CommandTimeoutError    a command took too long; the connection still works
    │   └── DeviceBusyError            another profile is running on the device
    ├── PredictorError             6   too few samples, or not fitted for what was asked
    ├── InfeasibleError            7   nothing keeps the limits; carries the fastest latency found
    ├── ExportError                8   parity failed, or an unsupported graph
    └── BundleError                8   a bundle is damaged, or cannot be run here

A message says what is wrong, which value, what is allowed, and what to do next.
"""

from typing import ClassVar


class MosdeployError(Exception):
    """Base of all errors that mosdeploy raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(MosdeployError):
    """A TOML file, a command-line value or the data is wrong."""

    exit_code = 3


class UnknownKeyError(ConfigError):
    """A key is unknown: mistyped, or of another version of mosdeploy."""


class ArchError(MosdeployError):
    """An architecture lies outside its search space."""

    exit_code = 3


class StaleInputError(MosdeployError):
    """A record is missing, corrupt or was made from something else; names the verb to run."""

    exit_code = 4


class DamagedError(StaleInputError):
    """A file is missing or is not the one that its card was written for."""


class UnreadableError(StaleInputError):
    """A file is there, and the disk or its rights do not let it be read."""


class OtherConditionsError(StaleInputError):
    """Latencies were measured under other conditions than those now: other graphs, another board,
    runtime or protocol. `what` leaves out what to do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what + remedy)
        self.what = what


class DeviceError(MosdeployError):
    """Something went wrong on the device or on the way to it."""

    exit_code = 5


class ConnectError(DeviceError):
    """The device could not be reached."""


class HostKeyError(DeviceError):
    """The device's host key is unknown or has changed."""


class AuthError(DeviceError):
    """The device accepted none of the keys."""


class CommandError(DeviceError):
    """A command ran on the device and failed."""


class ConnectionLostError(DeviceError):
    """The connection ended while a command ran."""


class DeviceTimeoutError(DeviceError):
    """The device did not answer within the time-out."""


class CommandTimeoutError(DeviceTimeoutError):
    """A command took longer than its time-out and was killed; the connection still works."""


class DeviceBusyError(DeviceError):
    """Another measurement holds the device."""


class PredictorError(MosdeployError):
    """A latency predictor cannot be fitted or does not apply."""

    exit_code = 6


class InfeasibleError(MosdeployError):
    """No architecture keeps the limits.

    Attributes
    ----------
    fastest_latency_ms
        The lowest latency, in milliseconds, that the search found; None when no latency limit was
        given.
    """

    exit_code = 7

    def __init__(self, message: str, fastest_latency_ms: float | None = None) -> None:
        super().__init__(message)
        self.fastest_latency_ms = fastest_latency_ms


class ExportError(MosdeployError):
    """A bundle could not be built or does not compute what the trained network computes."""

    exit_code = 8


class BundleError(MosdeployError):
    """A bundle is damaged, is not what its manifest says, or cannot be run here."""

    exit_code = 8
