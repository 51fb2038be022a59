"""The records that one command leaves for the next: frozen, versioned, without behaviour."""

import math
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, JsonValue

from .config.device import DeviceProfile
from .config.sections import ParameterCount, SearchConfig
from .config.units import (
    Statistic,
    parse_count,
    parse_duration_ms,
    parse_size,
    write_count,
    write_duration_ms,
    write_size,
)
from .errors import ConfigError
from .record import Record
from .spaces import AnyArch, AnyWorkload, Precision

# -- devices, what was timed on them, and the predictors fitted to it


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


# -- the limits of a search and what it found


class Candidate(Record):
    """One architecture that the search looked at, with the validation loss of the inherited subnet.

    A candidate that was made from a smaller one of lower loss is ranked by that one's, `base_loss`;
    `time_loss` is the part of the loss for the time of training steps.
    """

    arch: AnyArch
    loss: float
    predicted_ms: float | None
    num_parameters: int
    num_body_parameters: int
    size_bytes: int
    memory_bytes: int
    measured_ms: float | None = None
    measured_memory_bytes: int | None = Field(None, exclude_if=lambda found: found is None)
    base_loss: float | None = Field(None, exclude_if=lambda loss: loss is None)
    time_loss: float | None = Field(None, exclude_if=lambda loss: loss is None)


class Limits(Record):
    """What a subnet may cost; None where there is no limit."""

    max_latency_ms: float | None = Field(None, gt=0)
    max_parameters: int | None = Field(None, gt=0)
    max_body_parameters: int | None = Field(None, gt=0, exclude_if=lambda most: most is None)
    max_size_bytes: int | None = Field(None, gt=0)
    max_memory_bytes: int | None = Field(None, gt=0, exclude_if=lambda most: most is None)

    @classmethod
    def read(
        cls,
        max_latency: str | None = None,
        max_parameters: str | int | None = None,
        count: ParameterCount | None = None,
        max_size: str | int | None = None,
        max_memory: str | int | None = None,
    ) -> "Limits":
        """Read limits as users write them: 150ms, 4M, 12MiB."""
        if max_parameters is None and count == "encoder":
            raise ConfigError(
                "count says which parameters a limit counts; give max_parameters "
                "(--max-parameters) too"
            )
        parameters = "max_body_parameters" if count == "encoder" else "max_parameters"
        return cls.model_validate(
            {
                "max_latency_ms": None if max_latency is None else parse_duration_ms(max_latency),
                parameters: None if max_parameters is None else parse_count(max_parameters),
                "max_size_bytes": None if max_size is None else parse_size(max_size),
                "max_memory_bytes": None if max_memory is None else parse_size(max_memory),
            }
        )

    @classmethod
    def configured(cls, config: SearchConfig) -> "Limits":
        """Return the limits that [search] sets."""
        count = None if config.max_parameters is None else config.count
        return cls.read(
            config.max_latency, config.max_parameters, count, config.max_size, config.max_memory
        )

    def filled_up(self, other: "Limits") -> "Limits":
        """Take each limit that is not set from another record."""
        found = other.model_dump(exclude_none=True)
        if self.max_parameters is not None or self.max_body_parameters is not None:
            found.pop("max_parameters", None)
            found.pop("max_body_parameters", None)
        return Limits.model_validate(found | self.model_dump(exclude_none=True))

    def options(self, usual_count: ParameterCount) -> list[str]:
        """Return the command-line options that set these limits."""
        words = []
        if self.max_latency_ms is not None:
            words.append(f"--max-latency {write_duration_ms(self.max_latency_ms)}")
        for count, most in (("total", self.max_parameters), ("encoder", self.max_body_parameters)):
            if most is not None:
                words.append(f"--max-parameters {write_count(most)}")
                words += [f"--count {count}"] if count != usual_count else []
        if self.max_size_bytes is not None:
            words.append(f"--max-size {write_size(self.max_size_bytes)}")
        if self.max_memory_bytes is not None:
            words.append(f"--max-memory {write_size(self.max_memory_bytes)}")
        return words


NO_LIMITS = Limits()


class SearchResult(Record):
    """The winner, the front and what was measured."""

    version: Literal[3] = 3
    device: str
    workload: AnyWorkload
    limits: Limits
    statistic: Statistic = Field("median", exclude_if=lambda name: name == "median")
    space_sha256: str
    supernet_sha256: str
    predictor_sha256: str | None
    winner: Candidate
    verified: bool
    finalists: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    num_evaluated: int
    level: float = 1.0
    weighs_time: bool = Field(False, exclude_if=lambda found: not found)
    seed: int

    @property
    def deliverable(self) -> tuple[Candidate, ...]:
        """What can be delivered from it: the finalists that kept the limit, and the front."""
        return (*self.kept, *self.front)

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """The finalists that kept the limits as measured; the winner alone where none was
        measured.
        """
        if not self.finalists:
            return (self.winner,)
        limit_ms = self.limits.max_latency_ms or math.inf
        limit_bytes = self.limits.max_memory_bytes or math.inf
        return tuple(
            candidate
            for candidate in self.finalists
            # one that could not be timed kept nothing
            if candidate.measured_ms is not None
            and candidate.measured_ms <= limit_ms
            and (candidate.measured_memory_bytes or 0) <= limit_bytes
        )


# -- data, what was trained, and its scores


class DataCard(Record):
    """The data that a tokenizer and a supernet were trained on; `dropped` counts examples by
    reason.
    """

    version: Literal[2] = 2
    description: str
    num_train: int
    num_valid: int
    num_test: int
    dropped: dict[str, int]
    sha256: str
    vocab_size: int
    tokenizer_sha256: str


class TrainingBudget(Record):
    """How the steps of a walk are shared between the supernet and each of its winners."""

    version: Literal[2] = 2
    inputs_sha256: str | None = None
    num_winners: int
    supernet_steps: int
    warmup_steps: int | None = Field(None, exclude_if=lambda found: found is None)
    winner_steps: int
    time_s: float | None = None
    supernet_step_s: float | None = None
    winner_step_s: float | None = None
    same_time: bool = Field(False, exclude_if=lambda found: not found)


class SupernetCard(Record):
    """What a supernet was made from, and the validation losses of its largest and smallest subnets,
    in nats a target.
    """

    version: Literal[3] = 3
    inputs: dict[str, JsonValue]
    space_sha256: str
    data_sha256: str
    tokenizer_sha256: str
    supernet_sha256: str
    steps: int
    vocab_size: int
    routing: str
    num_experts: int
    largest_loss: float
    smallest_loss: float
    train_seconds: float
    budget: TrainingBudget | None = None

    @property
    def provenance(self) -> dict[str, str]:
        """What the manifest of a bundle from this supernet says that it was made from."""
        return {
            "data": self.data_sha256,
            "tokenizer": self.tokenizer_sha256,
            "supernet": self.supernet_sha256,
            "space": self.space_sha256,
        }


class TrainingCost(Record):
    """What training one supernet takes, measured in a few steps on made-up examples."""

    num_parameters: int
    parameters_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    step_s: float
    num_targets: int


class DryRun(Record):
    """Costs of the configured supernet, `configured`, and of the same one with other routings; and
    how long its teacher is trained, if it has one that is.
    """

    version: Literal[2] = 2
    space_sha256: str
    vocab_size: int
    steps: int
    costs: dict[str, TrainingCost]
    teacher_steps: int = 0
    teacher_s: float = 0.0


WeightOrigin = Literal["inherited", "finetuned", "teacher", "from-teacher", "scratch"]
"""Where the weights of a subnet come from: the supernet, further training of those, the teacher,
further training of its part of the teacher, or training from random ones.
"""


class SubnetCard(Record):
    """A subnet that was trained alone, and the validation losses that it started from and came to,
    in nats a target.
    """

    version: Literal[3] = 3
    inputs: dict[str, JsonValue]
    arch: AnyArch
    weights: WeightOrigin
    subnet_sha256: str
    steps: int
    start_loss: float
    loss: float
    train_seconds: float


class Scores(Record):
    """Quality of one subnet on the test examples: the family's metrics by name, the first of them
    the one that counts.
    """

    arch: AnyArch
    num_parameters: int
    metrics: dict[str, float]
    loss: float
    num_examples: int
    setup: str = ""
    weights: WeightOrigin = "inherited"
    subnet_sha256: str | None = None


class ScoreTable(Record):
    """Scores of several subnets of one supernet, by name, answering as a workload says."""

    version: Literal[2] = 2
    supernet_sha256: str
    data_sha256: str
    workload: AnyWorkload | None = None
    inputs_sha256: str | None = None
    subnets: dict[str, Scores]


# -- what was exported, checked and deployed


Runtime = Literal["onnxruntime", "tvm"]
"""What runs a bundle's model."""


class SelfTest(Record):
    """One example and what the bundle must answer: token ids or, from a family whose answers are
    scores, numbers.
    """

    input: str
    input_ids: tuple[int, ...]
    answer: tuple[int, ...] | tuple[float, ...]
    output: str


class ParityReport(Record):
    """Torch against the bundle on validation examples, by the family's first metric."""

    metric: str
    num_examples: int
    identical: int
    torch_score: float
    bundle_score: float
    exact_score: float | None = Field(None, exclude_if=lambda score: score is None)


class BundleManifest(Record):
    """manifest.json of a bundle: what is in it, what it was made from, what it must output."""

    version: Literal[2] = 2
    family: str = "translation"
    name: str
    runtime: Runtime = "onnxruntime"
    processor: str | None = None
    precision: str
    settings: dict[str, int | float | str | tuple[str, ...]]
    vocab_size: int
    arch: AnyArch
    num_parameters: int
    workload: AnyWorkload
    device: str | None
    limits: Limits | None = Field(None, exclude_if=lambda limits: limits is None)
    statistic: Statistic = Field("median", exclude_if=lambda name: name == "median")
    provenance: dict[str, str]
    weights: WeightOrigin = "inherited"
    parity: ParityReport
    self_test: tuple[SelfTest, ...]
    sha256: dict[str, str]


class Deployment(Record):
    """A bundle that was copied to a device, self-tested there and timed there."""

    version: Literal[1] = 1
    device: DeviceProfile
    state: DeviceState
    bundle: str
    bundle_sha256: str
    remote_dir: str
    self_test_passed: bool
    measurement: Measurement
    limit_ms: float | None
    statistic: Statistic = Field("median", exclude_if=lambda name: name == "median")
    max_memory_bytes: int | None = Field(None, gt=0, exclude_if=lambda most: most is None)
    deployed_at: str
    rolled_back_from: tuple[str, ...] = Field((), exclude_if=lambda names: not names)

    @property
    def slot(self) -> str:
        """Name of the folder on the device in which its versions stand."""
        return PurePosixPath(self.remote_dir).parent.name

    @property
    def limit_kept(self) -> bool | None:
        """Whether it keeps its limit on latency; None without one, and where its times mean
        nothing.
        """
        figure_ms = self.measurement.figure_ms(self.statistic)
        if self.limit_ms is None or figure_ms is None or self.device.emulated:
            return None
        return figure_ms <= self.limit_ms

    @property
    def memory_kept(self) -> bool | None:
        """The same of its limit on memory."""
        taken_bytes = self.measurement.memory_bytes
        if self.max_memory_bytes is None or taken_bytes is None or self.device.emulated:
            return None
        return taken_bytes <= self.max_memory_bytes


class PrecisionCandidate(Record):
    """One precision on one device: its latency there or why it has none, and its score; `verdict`
    says that it was taken, or why not. `likeness` is that to torch's answers.
    """

    precision: Precision
    latency_ms: float | None = None
    error: str | None = None
    size_bytes: int | None = None
    score: float | None = None
    likeness: float | None = Field(None, exclude_if=lambda likeness: likeness is None)
    verdict: str = ""


class PrecisionChoice(Record):
    """Which precision `export --precision auto` takes, and the latencies and scores, on validation
    examples, of all that it compared.
    """

    version: Literal[2] = 2
    device: str
    workload: AnyWorkload
    inputs_sha256: str
    conditions: dict[str, str | None] = Field(default_factory=dict)
    statistic: Statistic = Field("median", exclude_if=lambda name: name == "median")
    metric: str
    max_score_drop: float
    num_examples: int
    torch_score: float
    precision: Precision | None
    candidates: tuple[PrecisionCandidate, ...]
