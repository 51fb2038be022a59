"""Records of what was exported, checked, deployed and measured there."""

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from ..config.device import DeviceProfile
from ..config.units import Statistic
from ..record import Record
from ..spaces import AnyArch, AnyWorkload, Precision
from .latency import DeviceState, Measurement
from .search import Limits
from .training import WeightOrigin

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
