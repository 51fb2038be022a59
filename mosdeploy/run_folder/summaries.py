"""What a verb says at its end, for people and for `--json`."""

from pydantic import Field, JsonValue

from ..config.device import DeviceProfile
from ..printable import duration
from ..record import Record
from ..records import (
    BoardCalibration,
    BundleManifest,
    Deployment,
    DeviceState,
    Leftover,
    Measurement,
    PredictorCard,
    Problem,
    Runtime,
    ScoreTable,
    SearchResult,
    WeightOrigin,
)
from ..spaces import AnyArch, Precision
from .artifact import State


class StepTimes(Record):
    """Seconds of a step of the supernet and of a subnet alone, on this machine."""

    supernet_s: float
    winner_s: float


class WalkEstimate(Record):
    """Expected seconds of each verb of a walk, in its order, and what they were made from."""

    verbs: dict[str, float]
    steps: dict[str, int]
    times: StepTimes
    device: str
    num_winners: int = 1

    @property
    def training_s(self) -> float:
        """What a time for the training is spent on."""
        return self.verbs["train"] + self.verbs["finetune"]

    @property
    def total_s(self) -> float:
        """The whole walk."""
        return sum(self.verbs.values())

    @property
    def expected(self) -> dict[str, str]:
        """Times by verb, for people."""
        return {verb: f"about {duration(seconds)}" for verb, seconds in self.verbs.items()}

    @property
    def notes(self) -> dict[str, str]:
        """What the times of some verbs are for, for people."""
        times = self.times
        trained = f"{self.steps['supernet']:,} steps of the supernet, {times.supernet_s:.2f} s each"
        if self.steps["teacher"]:
            trained = f"{self.steps['teacher']:,} steps of the teacher, {trained}"
        winner = "the winner" if self.num_winners == 1 else f"each of {self.num_winners} winners"
        return {
            "train": trained,
            "profile": f"by the protocol of {self.device}",
            "finetune": f"{self.steps['winner']:,} steps of {winner}, {times.winner_s:.2f} s each",
        }

    @property
    def total(self) -> str:
        """The time of the whole walk, for people."""
        return f"about {duration(self.total_s)} in all, {duration(self.training_s)} training"


class RunFile(Record):
    """The `mosdeploy.toml` that `init` wrote."""

    path: str
    recipe: str


class NewRun(Record):
    """The `mosdeploy.toml` that `init --train` wrote, what was found in the data, by a word for
    each fact, and what the walk will take.
    """

    path: str
    found: dict[str, str]
    estimate: WalkEstimate


class Part(Record):
    """One thing that a run folder holds, or lacks."""

    what: str
    name: str = ""
    state: State
    detail: str = ""
    command: str | None = None


class RunStatus(Record):
    """All parts of a run folder in the order of the walk, and the command to run next."""

    root: str
    parts: tuple[Part, ...]
    next_command: str | None


class ProfileSummary(Record):
    """What one `profile` run did; `error_met` says whether `until_error_percent` was reached, None
    without one.
    """

    device: str
    emulated: bool
    path: str
    measured_now: int
    num_records: int
    failed: int
    card: PredictorCard | None
    fastest_ms: float | None = None
    slowest_ms: float | None = None
    noise_floor_percent: float | None = None
    max_noise_percent: float | None = None
    load_1min: float | None = None
    cores: int | None = None
    until_error_percent: float | None = None
    error_met: bool | None = None
    boards: tuple[BoardCalibration, ...] = ()
    failed_boards: dict[str, str] = Field(default_factory=dict)
    further_command: str | None = None

    @property
    def is_too_noisy(self) -> bool:
        """Whether the times mean nothing since the device did something else meanwhile."""
        found, most = self.noise_floor_percent, self.max_noise_percent
        return not self.emulated and found is not None and most is not None and found > most


class Verification(Record):
    """The timing of what is deployed on a device now, and whether it keeps its limits."""

    deployment: Deployment
    measurement: Measurement
    limit_ms: float | None
    max_memory_bytes: int | None = None
    kept: bool


class ComparedBundle(Record):
    """A bundle among others: its timing by turns with them, and its metrics by name."""

    name: str
    precision: str
    arch: AnyArch
    weights: WeightOrigin
    num_parameters: int
    size_bytes: int
    measurement: Measurement
    metrics: dict[str, float]


class Comparison(Record):
    """Several bundles, timed by turns on one device and scored on the same examples."""

    device: str
    scored_on: str
    bundles: tuple[ComparedBundle, ...]


class Predictions(Record):
    """What `predict` did, line by line, and with which bundle."""

    bundle: str
    predictions: tuple[dict[str, JsonValue], ...]


class VectorFile(Record):
    """Vectors that `predict` wrote, and how many of how many numbers."""

    bundle: str
    path: str
    shape: tuple[int, ...]


class DeviceList(Record):
    """The device profiles that a run folder knows."""

    devices: tuple[DeviceProfile, ...]


class DeviceCheck(Record):
    """What `devices check` found."""

    device: str
    state: DeviceState
    problems: tuple[Problem, ...]


class AddedDevice(DeviceCheck):
    """The profile that `devices add` wrote, and what was found on the board."""

    path: str


class DeviceCleaning(Record):
    """What nothing needs any more on a device, and whether it was removed, but for `kept`."""

    device: str
    leftovers: tuple[Leftover, ...]
    is_removed: bool
    kept: tuple[Leftover, ...] = ()


class HandDesigned(Record):
    """The net that a person would pick: as the largest, with as many of its layers as keep the
    limit, trained from the teacher's weights for as long as the winner.
    """

    arch: AnyArch
    measured_ms: float
    teacher_ms: float
    teacher_fp32_ms: float


class WalkSummary(Record):
    """What came out of a walk: `scores`, None without test examples, two paths, `bundle` and
    `page`, and which network is in that bundle: another finalist where the winner's broke its
    limit.
    """

    search: SearchResult
    scores: ScoreTable | None
    deployment: Deployment
    arch: AnyArch
    weights: WeightOrigin
    bundle: str
    page: str


class DemoSummary(WalkSummary):
    """What came out of the demo."""

    scores: ScoreTable
    hand_designed: HandDesigned | None = None


class FormatSummary(Record):
    """A subnet that was written in a format of other libraries, and where."""

    path: str
    format: str
    arch: AnyArch
    weights: WeightOrigin
    precision: Precision
    vocab_size: int
    num_parameters: int
    size_bytes: int


class RuntimeTiming(Record):
    """What a bundle takes on a device, or why it could not be built or timed there."""

    runtime: Runtime
    measurement: Measurement | None
    error: str | None


class RuntimeChoice(Record):
    """The bundle that `export --runtime auto` kept, and what all took on the device."""

    device: str
    kept: Runtime
    bundle: str
    timings: tuple[RuntimeTiming, ...]
    manifest: BundleManifest
