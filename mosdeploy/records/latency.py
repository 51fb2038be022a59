"""Records of devices, of what was timed on them, and of the predictors fitted to it."""

from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from ..config.device import DeviceProfile
from ..config.units import Statistic
from ..record import Record
from ..spaces import AnyArch, AnyWorkload


class Timing(Record):
    """Statistics of repeated wall-clock times of the same work, in milliseconds.

    `interval_percent` is half the width of the median's 95% interval, relative to the median;
    `cpu_ms` the median of the processor time, all threads together. Older files lack these and
    `p99_ms`.
    """

    median_ms: float
    p90_ms: float
    p99_ms: float | None = None
    minimum_ms: float
    repeats: int
    interval_percent: float | None = None
    cpu_ms: float | None = None

    def of(self, statistic: Statistic) -> float | None:
        """One figure, in milliseconds; None where an older record does not tell it."""
        return {"median": self.median_ms, "p90": self.p90_ms, "p99": self.p99_ms}[statistic]


class Measurement(Record):
    """One subnet timed on one device; a failure is a measurement with `error` and no timing.

    `total` is the whole run as deployed; `parts` holds the family's other timing stages by name.
    `drift_percent` is how far the time of the reference subnet moved from just before to just
    after, None if that is not known; a fit gives the measurement less weight for it. `reference_ms`
    is the mean of these two times, where they agree. Figures are medians over `rounds`, which are
    at different times, out of `attempts` that were made; least times, repeats, memory and drift are
    what `devices.rounds` says. In a `flagged` one the reference moved too far in every round; it
    holds the round in which it moved least. `peak_memory_bytes` is the most that the process held,
    `memory_bytes` the same less what it held with the runtime started and no model loaded; None in
    older records.
    """

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

    @model_validator(mode="before")
    @classmethod
    def _read_0_1_0(cls, data: Any) -> Any:
        """Take the fields of 0.1.0, which named the two stages of a translation."""
        if not isinstance(data, dict) or "parts" in data:
            return data
        stages = {name: data[name] for name in ("encoder", "decoder") if data.get(name) is not None}
        rest = {
            name: value
            for name, value in data.items()
            if name not in ("encoder", "decoder", "visits")
        }
        return {**rest, "parts": stages, **({"rounds": data["visits"]} if "visits" in data else {})}


class DeviceState(Record):
    """What a device reports about itself; None where it does not tell.

    `packages` holds the versions of the profile's requirements that are installed there, by their
    names on PyPI; `cpu_quota` is how many processors' time a container may use.
    """

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

    @model_validator(mode="before")
    @classmethod
    def _read_0_1_0(cls, data: Any) -> Any:
        """Take the fields of 0.1.0, which had one for each package."""
        if not isinstance(data, dict):
            return data
        # behind this validator pydantic no longer knows that JSON was read, and refuses its lists
        data = {name: tuple(x) if isinstance(x, list) else x for name, x in data.items()}
        if "packages" in data:
            return data
        names = {
            "numpy": "numpy",
            "onnxruntime": "onnxruntime",
            "sentencepiece": "sentencepiece",
            "tvm": "apache-tvm",
        }
        found = {
            names[name]: data[f"{name}_version"]
            for name in names
            if data.get(f"{name}_version") is not None
        }
        rest = {
            key: value
            for key, value in data.items()
            if key not in {f"{name}_version" for name in names}
        }
        return {**rest, "packages": found}


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
    """What all records of one latency dataset have in common; the first line of latency.jsonl.

    `graph_sha256` is a fingerprint of the graphs that are timed, `machine_id` one of this machine
    where that is the device; None in older files.
    """

    version: Literal[1] = 1
    dataset_id: str
    device: DeviceProfile
    workload: AnyWorkload
    space_sha256: str
    vocab_size: int
    graph_sha256: str | None = None
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
    """One session of measurements: the device before and after it, and the timings of the
    reference subnet in between.

    `LatencyRecord.session` refers to it. `host` is the board, by its alias; older files lack it.
    `after` is None until the board has measured all and its candidates are removed; where a session
    was killed, a later command removes them, and reference timings that it had not fetched are in
    the next session of that board. `emulated`: the board is an emulation, its times mean
    nothing. `dataset_id` tells the sessions of datasets in one folder apart; older files lack it.
    """

    version: Literal[1] = 1
    session: str
    dataset_id: str | None = None
    started_at: str
    host: str | None = None
    emulated: bool = False
    state: DeviceState
    after: DeviceState | None = None
    references: tuple[ReferenceTiming, ...] = ()


class BoardCalibration(Record):
    """How one board of a fleet differs from the others, in one dataset.

    `time_ratio` is the median of its timings of the reference, `reference_ms`, over the fleet's
    (1.05: 5% slower); both are None where it has none. The fleet's is the median over its boards.
    """

    host: str
    num_subnets: int
    reference_ms: float | None
    time_ratio: float | None = Field(validation_alias=AliasChoices("time_ratio", "level"))


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
    slower). Files of 0.1.0 call it `level`.
    """

    start: int
    stop: int
    time_ratio: float = Field(validation_alias=AliasChoices("time_ratio", "level"))


class TransferTrial(Record):
    """How correcting another device's predictor compared with fitting from scratch, on held-out
    subnets.

    Both errors are over the best nine tenths; `scratch_percent` is None with too few samples for a
    fit from scratch.
    """

    source: str
    source_sha256: str
    error_percent: float
    scratch_percent: float | None
    used: bool


class PredictorCard(Record):
    """What a predictor was fitted on and how far off it was on rows that it had not seen
    (cross-validation).

    The errors are over all samples; `trusted_mape_percent` leaves out those that the fit gave no
    weight, since the device was busy. `num_rejected` counts these and the rows of `left_out`, which
    the fit never saw. `boards` are those of a fleet: each one's measurements were divided by its
    `time_ratio`, so that the predictor stands for the median board; those of `rescaled_sessions`
    by the session's, so that it stands for the boards as they were in their newest session.
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
    # left out where there are none, as in the cards that are older
    rescaled_sessions: tuple[SessionCalibration, ...] = Field((), exclude_if=lambda x: not x)
    transfer: TransferTrial | None = None
