"""Records of devices, of what was timed on them, and of the predictors fitted to it."""

from typing import Literal

from pydantic import Field

from ..config.device import DeviceProfile
from ..config.units import Statistic
from ..record import Record
from ..spaces import AnyArch, AnyWorkload


class Timing(Record):
    """Statistics of repeated wall-clock times of the same work, in milliseconds."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    minimum_ms: float
    repeats: int
    interval_percent: float | None = None
    cpu_ms: float | None = None

    def of(self, statistic: Statistic) -> float:
        """Return one figure, in milliseconds."""
        return {"median": self.median_ms, "p90": self.p90_ms, "p99": self.p99_ms}[statistic]


class Measurement(Record):
    """One subnet timed on one device; a failure is a measurement with `error` and no timing."""

    total: Timing | None = None
    parts: dict[str, Timing] = Field(default_factory=dict)
    load_ms: float | None = None
    peak_memory_bytes: int | None = None
    memory_bytes: int | None = Field(None, exclude_if=lambda found: found is None)
    error: str | None = None
    drift_percent: float | None = None
    reference_ms: float | None = Field(None, exclude_if=lambda found: found is None)
    flagged: bool = False
    rounds: int = 1
    attempts: int = 1

    def figure_ms(self, statistic: Statistic = "median") -> float | None:
        """The figure of the whole run that a limit is about; None where it was not timed."""
        return self.total.of(statistic) if self.total else None


class DeviceState(Record):
    """What a device reports about itself; None where it does not tell."""

    reachable: bool = True
    machine: str | None = None
    cpu_model: str | None = None
    cpu_features: tuple[str, ...] = ()
    cores: int | None = None
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_used_bytes: int | None = None
    disk_free_bytes: int | None = None
    governor: str | None = None
    frequency_mhz: float | None = None
    frequencies_mhz: tuple[float, ...] = ()
    temperature_c: float | None = None
    throttled: str | None = None
    load_1min: float | None = None
    cpu_quota: float | None = Field(None, exclude_if=lambda found: found is None)
    gpu: str | None = None
    python_version: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    providers: tuple[str, ...] = ()
    provider_error: str | None = None


class Problem(Record):
    """Something that a device lacks (`blocking`) or that disturbs timing on it, and the command
    that solves it.
    """

    what: str
    fix: str
    blocking: bool


class Leftover(Record):
    """Something on a device that nothing needs any more: its path in the work folder, what it is,
    and how much is freed by it when all that is listed goes.
    """

    path: str
    what: str
    size_bytes: int


class LatencyContext(Record):
    """What all records of one latency dataset have in common; the first line of latency.jsonl."""

    version: Literal[1] = 1
    dataset_id: str
    device: DeviceProfile
    workload: AnyWorkload
    space_sha256: str
    vocab_size: int
    graph_sha256: str
    machine_id: str | None = None


class LatencyRecord(Record):
    """One line of latency.jsonl: an architecture and its measurement."""

    arch: AnyArch
    measurement: Measurement
    runtime: str
    measured_at: str
    session: str


class ReferenceTiming(Record):
    """One timing of the reference subnet; `measured_at`, by the device's clock, tells it from the
    others.
    """

    measured_at: str
    total: Timing


class SessionRecord(Record):
    """One session of measurements: the device before and after it, and the timings of the reference
    subnet in between.
    """

    version: Literal[1] = 1
    session: str
    dataset_id: str
    started_at: str
    host: str
    emulated: bool = False
    state: DeviceState
    after: DeviceState | None = None
    references: tuple[ReferenceTiming, ...] = ()


class BoardCalibration(Record):
    """How one board of a fleet differs from the others, in one dataset."""

    host: str
    num_subnets: int
    reference_ms: float | None
    time_ratio: float | None


class SessionCalibration(Record):
    """An older session of a board whose timings of the reference differ from those of its newest
    session: `time_ratio` is their median over the newest's (1.05: it was 5% slower then).
    """

    session: str
    host: str
    started_at: str
    num_subnets: int
    time_ratio: float


class RowBlock(Record):
    """Rows `start` to `stop - 1` of a file, `time_ratio` times as slow as the rest (1.42: 42%
    slower).
    """

    start: int
    stop: int
    time_ratio: float


class TransferTrial(Record):
    """How correcting another device's predictor compared with fitting from scratch, on held-out
    subnets.
    """

    source: str
    source_sha256: str
    error_percent: float
    scratch_percent: float | None
    used: bool


class PredictorCard(Record):
    """What a predictor was fitted on and how far off it was on rows that it had not seen
    (cross-validation).
    """

    version: Literal[1] = 1
    device: str
    workload: str
    space_sha256: str
    dataset_sha256: str
    num_samples: int
    num_rejected: int
    uses_mlp: bool
    mape_percent: float
    within_5_percent: float
    within_10_percent: float
    kendall_tau: float
    trusted_mape_percent: float | None = None
    runtime: str = ""
    source: str = ""
    licence: str = ""
    left_out: tuple[RowBlock, ...] = ()
    boards: tuple[BoardCalibration, ...] = ()
    rescaled_sessions: tuple[SessionCalibration, ...] = Field((), exclude_if=lambda x: not x)
    transfer: TransferTrial | None = None
