"""Records of data, of supernets and subnets that were trained, and of their scores."""

from typing import Literal

from pydantic import Field, JsonValue

from ..record import Record
from ..spaces import AnyArch, AnyWorkload


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
