"""Records of what was exported, checked, deployed and measured there."""

from typing import Literal

from ..config.device import DeviceProfile
from ..record import Record
from ..spaces.spec import Precision, Workload
from ..spaces.translation import ArchConfig
from .latency import DeviceState, Measurement
from .training import WeightOrigin

Runtime = Literal["onnxruntime", "tvm"]
"""What runs a bundle's model."""


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
    provenance: dict[str, str]
    weights: WeightOrigin = "inherited"
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

    `precision` is None as long as there is no choice. `inputs_sha256` is a fingerprint of all that the numbers depend on.
    """

    version: Literal[1] = 1
    device: str
    workload: Workload
    inputs_sha256: str
    max_bleu_drop: float
    num_pairs: int
    torch_bleu: float
    precision: Precision | None
    candidates: tuple[PrecisionCandidate, ...]
