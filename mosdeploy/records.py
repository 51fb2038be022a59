"""The records that walk from room to room: frozen, versioned, no behaviour beyond arithmetic on their own fields.

In and out: JSON. No record holds a path of the machine that wrote it, a secret or a tensor.
"""

from typing import Literal

from pydantic import Field

from .config import DeviceProfile, Precision, Workload
from .schema import Record
from .space import ArchConfig

Runtime = Literal["onnxruntime", "tvm"]
"""What runs a bundle's model."""

# -- training ------------------------------------------------------------------------------------------------------


class CorpusCard(Record):
    """The corpus that a tokenizer and a supernet were trained on; `dropped` counts pairs by reason."""

    version: Literal[1] = 1
    source_lang: str
    target_lang: str
    num_train: int
    num_valid: int
    num_test: int
    dropped: dict[str, int]
    sha256: str
    vocab_size: int
    tokenizer_sha256: str


class SupernetCard(Record):
    """What a checkpoint was made from and how well its largest and smallest subnets do."""

    version: Literal[1] = 1
    made_from: str
    space_sha256: str
    corpus_sha256: str
    tokenizer_sha256: str
    supernet_sha256: str
    updates: int
    vocab_size: int
    routing: str
    num_experts: int
    largest_loss: float
    smallest_loss: float
    train_seconds: float


class TrainingCost(Record):
    """What training one supernet takes, measured in a few updates on made-up sentences.

    `peak_bytes` is the largest resident size of the process on a CPU, what was allocated at most on a GPU; `update_s`
    is the median time of an update of `target_tokens` target tokens.
    """

    num_parameters: int
    parameters_bytes: int
    optimizer_bytes: int
    peak_bytes: int
    update_s: float
    target_tokens: int


class DryRun(Record):
    """Costs of the configured supernet, `configured`, and of the same one with other routings."""

    version: Literal[1] = 1
    space_sha256: str
    vocab_size: int
    updates: int
    costs: dict[str, TrainingCost]


Weights = Literal["inherited", "finetuned", "scratch"]
"""Where the weights of a subnet come from: the supernet, further training of those, or training from random ones."""


class SubnetCard(Record):
    """A subnet that was trained alone, and the validation losses that it started from and came to, in nats a piece.

    `supernet_sha256` is None for one trained from scratch, which has nothing from the supernet but its tokenizer.
    """

    version: Literal[1] = 1
    made_from: str
    arch: ArchConfig
    weights: Weights
    corpus_sha256: str
    tokenizer_sha256: str
    supernet_sha256: str | None
    subnet_sha256: str
    steps: int
    start_loss: float
    loss: float
    train_seconds: float


class Scores(Record):
    """Translation quality of one subnet on the test pairs; BLEU and chrF as sacrebleu prints them (0 to 100).

    `loss` is the validation loss in nats a piece.
    """

    arch: ArchConfig
    num_parameters: int
    bleu: float
    chrf: float
    loss: float
    num_pairs: int
    beam: int
    weights: Weights = "inherited"


class ScoreTable(Record):
    """Scores of several subnets of one supernet, by name."""

    version: Literal[1] = 1
    supernet_sha256: str
    corpus_sha256: str
    subnets: dict[str, Scores]


# -- devices and latency -------------------------------------------------------------------------------------------


class Timing(Record):
    """Statistics of repeated wall-clock times of the same work, in milliseconds.

    `interval_percent` is half the width of the median's 95% interval, relative to the median; `cpu_ms` the median of
    the processor time, all threads together. Older files lack these and `p99_ms`.
    """

    median_ms: float
    p90_ms: float
    p99_ms: float | None = None
    minimum_ms: float
    repeats: int
    interval_percent: float | None = None
    cpu_ms: float | None = None


class Measurement(Record):
    """One subnet timed on one device; a failure is a measurement with `error` and no timing.

    `total` is the whole translation as deployed; `encoder` the same graph with no decode step (encoder and
    cross-attention keys and values); `decoder` the difference of the paired repeats. `drift_percent` tells how far the
    reference subnet moved between just before and just after, None if that is not known; a fit trusts the
    measurement accordingly. For a `flagged` one it moved too far in each of the `attempts`, of which this is the one
    that it moved least in.
    """

    total: Timing | None = None
    encoder: Timing | None = None
    decoder: Timing | None = None
    load_ms: float | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None
    drift_percent: float | None = None
    flagged: bool = False
    attempts: int = 1


class DeviceState(Record):
    """What a device said about itself; None where it does not tell."""

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
    gpu: str | None = None
    python_version: str | None = None
    numpy_version: str | None = None
    onnxruntime_version: str | None = None
    sentencepiece_version: str | None = None
    tvm_version: str | None = None
    providers: tuple[str, ...] = ()
    provider_error: str | None = None


class Problem(Record):
    """Something that a device lacks (`blocking`) or that spoils its timing, and the command that mends it."""

    what: str
    fix: str
    blocking: bool


class LatencyContext(Record):
    """What all records of one latency dataset have in common; the first line of latency.jsonl."""

    version: Literal[1] = 1
    dataset_id: str
    device: DeviceProfile
    workload: Workload
    space_sha256: str
    vocab_size: int


class LatencyRecord(Record):
    """One line of latency.jsonl: an architecture and its measurement."""

    arch: ArchConfig
    measurement: Measurement
    runtime: str
    measured_at: str
    session: str


class ReferenceTiming(Record):
    """One timing of the reference subnet; `measured_at` by the device's clock, which names it."""

    measured_at: str
    total: Timing


class SessionRecord(Record):
    """One session of measurements: the device before and after it, and how the reference subnet fared meanwhile.

    `LatencyRecord.session` refers to it. `host` is the board, by its alias; older files lack it. `after` is None when
    the session was killed; references that it did not get to read are then in the next session of that board.
    `emulated`: the board is an emulation, its times mean nothing.
    """

    version: Literal[1] = 1
    session: str
    started_at: str
    host: str | None = None
    emulated: bool = False
    state: DeviceState
    after: DeviceState | None = None
    references: tuple[ReferenceTiming, ...] = ()


class BoardLevel(Record):
    """How one board of a fleet differs from the others, in one dataset.

    `level` is the median of its timings of the reference, `reference_ms`, over the fleet's (1.05: 5% slower); both are
    None where it has none. The fleet's is the median over its boards.
    """

    host: str
    num_subnets: int
    reference_ms: float | None
    level: float | None


class RowBlock(Record):
    """Rows `start` to `stop - 1` of a file, `level` times as slow as the rest (1.42: 42% slower)."""

    start: int
    stop: int
    level: float


class TransferTrial(Record):
    """How correcting another device's predictor compared with fitting from scratch, on held-out subnets.

    Both errors are over the best nine tenths; `scratch_percent` is None with too few samples for a fit from scratch.
    """

    source: str
    source_sha256: str
    error_percent: float
    scratch_percent: float | None
    used: bool


class PredictorCard(Record):
    """What a predictor was fitted on and how far off it was on rows that it had not seen (cross-validation).

    The errors are over all samples; `trusted_mape_percent` leaves out those that the fit gave no weight, since the
    device was busy. `num_rejected` counts these and the rows of `left_out`, which the fit never saw. `boards` are those
    of a fleet: each one's measurements were divided by its level, so that the predictor speaks of the middle board.
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
    boards: tuple[BoardLevel, ...] = ()
    transfer: TransferTrial | None = None


# -- search --------------------------------------------------------------------------------------------------------


class Candidate(Record):
    """One architecture that the search looked at; `loss` is the inherited subnet's validation loss (lower wins)."""

    arch: ArchConfig
    loss: float
    predicted_ms: float | None
    num_parameters: int
    size_bytes: int
    measured_ms: float | None = None


class Limits(Record):
    """What a subnet may cost; None where there is no limit."""

    max_latency_ms: float | None = Field(None, gt=0)
    max_parameters: int | None = Field(None, gt=0)
    max_size_bytes: int | None = Field(None, gt=0)


class QualityCard(Record):
    """How well a quality predictor did on subnets that it had not seen (cross-validation).

    `kendall_tau` is the rank correlation of predicted and true losses, `error` their mean distance in nats a token.
    """

    num_samples: int
    kendall_tau: float
    error: float


class SearchResult(Record):
    """The winner, the front and what was measured.

    `num_evaluated` subnets were truly evaluated; `num_given_up` of them in part, when they were clearly worse than
    others. `num_predicted` were only predicted, by the predictor of the card `quality`.
    """

    version: Literal[1] = 1
    device: str
    workload: Workload
    limits: Limits
    space_sha256: str
    supernet_sha256: str
    predictor_sha256: str | None
    winner: Candidate
    verified: bool
    finalists: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    num_evaluated: int
    num_given_up: int = 0
    num_predicted: int = 0
    quality: QualityCard | None = None
    seed: int


# -- export and deploy ---------------------------------------------------------------------------------------------


class SelfTest(Record):
    """One sentence and what the bundle must answer, id for id."""

    source: str
    source_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    output: str


class ParityReport(Record):
    """Torch against the bundle on validation sentences."""

    num_pairs: int
    identical: int
    torch_bleu: float
    bundle_bleu: float


class BundleManifest(Record):
    """manifest.json of a bundle: what is in it, what it was made from, what it must answer.

    `processor` is what a TVM library was compiled for; None for ONNX, which runs anywhere.
    """

    version: Literal[1] = 1
    name: str
    runtime: Runtime = "onnxruntime"
    processor: str | None = None
    precision: str
    beam: int
    length_penalty: float
    source_lang: str
    target_lang: str
    pad_id: int
    unk_id: int
    bos_id: int
    eos_id: int
    vocab_size: int
    max_source_len: int
    max_decode_steps: int
    arch: ArchConfig
    num_parameters: int
    workload: Workload
    device: str | None
    made_from: dict[str, str]
    weights: Weights = "inherited"
    parity: ParityReport
    self_test: tuple[SelfTest, ...]
    sha256: dict[str, str]


class Deployment(Record):
    """A bundle that stands on a device, passed its self-test there and was timed there."""

    version: Literal[1] = 1
    device: DeviceProfile
    state: DeviceState
    bundle: str
    bundle_sha256: str
    remote_dir: str
    self_test_passed: bool
    measurement: Measurement
    limit_ms: float | None
    deployed_at: str


class PrecisionCandidate(Record):
    """One precision on one device: its latency there or why it has none, and its BLEU; `verdict`: taken or why not."""

    precision: Precision
    latency_ms: float | None = None
    error: str | None = None
    size_bytes: int | None = None
    bleu: float | None = None
    verdict: str = ""


class PrecisionChoice(Record):
    """Which precision `export --precision auto` takes, and all that it weighed, on validation sentences.

    `precision` is None as long as there is no choice. `made_from` is a fingerprint of all that the numbers depend on.
    """

    version: Literal[1] = 1
    device: str
    workload: Workload
    made_from: str
    max_bleu_drop: float
    num_pairs: int
    torch_bleu: float
    precision: Precision | None
    candidates: tuple[PrecisionCandidate, ...]
