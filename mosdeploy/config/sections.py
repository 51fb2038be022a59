"""Sections of `mosdeploy.toml` that all families share."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..record import Name, Record
from ..spaces.genes import Width
from ..spaces.spec import CostedSpace, ModelSpec, Precision, Workload
from .units import Count, Duration, Fraction, Size, Statistic, Steps

MAX_SEED = 2**62
"""What every generator of random numbers takes."""


class SupernetConfig(Record):
    """How subnets share weights (Mixture-of-Supernets, Jawahar et al., ACL Findings 2024).

    `router_hidden_dim` is the width of the routers, which read an encoding of the architecture;
    `dropout` is of embeddings and of what is added to them, in the largest network; a narrower
    translation has less. `attention_dropout` is of the
    attention's weights.
    """

    routing: Literal["none", "layer", "neuron"] = "neuron"
    num_experts: int = Field(2, ge=1, le=16)
    router_hidden_dim: Width = 128
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.0

    @property
    def router_dropout(self) -> float:
        """Dropout of the hidden layer of the routers."""
        return min(0.1, self.dropout)


ParameterCount = Literal["total", "encoder"]
"""Which parameters a limit counts: all, or all but those of the embedding table."""


class TrainingConfig(Record):
    """The supernet's training run.

    A step trains extremes of the space (`sandwich`: which) and `num_random_archs` random
    architectures. `batch_sharing`: each of them reads `grad_accum_steps` batches of its own, or all
    read the same. The learning rate warms up, then follows `schedule`; with "constant" it stays,
    and decays in the training of a winner, which goes on from there. `budget` stands for the steps
    of the whole walk, in place of both their numbers: the supernet's, and those of `num_winners`
    subnets that are found in it and trained on. `log`: JSON Lines alone, or TensorBoard's events
    too (extra `tensorboard`). Of more examples than `train_examples`, so many are drawn and trained
    on; of more than `valid_examples`, so many are validated on. `weight_decay` shrinks matrices
    alone, apart from the gradient (AdamW). A gradient's norm is clipped to `clip_norm`, 0 for not
    at all. `compute`: on what is trained; "auto" takes a GPU if there is one. `threads` of the
    processor; None takes all that are allowed. `seed` is of all draws: of the training, of a
    profile and of a search.
    """

    without_effect: ClassVar[tuple[str, ...]] = (
        "compute",
        "activation_checkpointing",
        "threads",
        "validate_every",
        "checkpoint_every",
    )
    """Keys that change how a training runs, and not what it comes to."""

    steps: Steps = 2000
    budget: int | None = Field(None, ge=2, le=10**9)
    num_winners: int = Field(1, ge=1)
    tokens_per_batch: int = Field(2048, ge=16)
    grad_accum_steps: int = Field(1, ge=1, le=100_000)
    batch_sharing: Literal["none", "shared"] = "none"
    learning_rate: float = Field(2e-3, gt=0)
    warmup_steps: int = Field(200, ge=0)
    schedule: Literal["cosine", "inverse_sqrt", "linear", "constant"] = "cosine"
    weight_decay: float = Field(0.0, ge=0, le=1)
    clip_norm: float = Field(1.0, ge=0)
    label_smoothing: Fraction = 0.1
    sandwich: Literal["both", "largest", "smallest", "none"] = "both"
    num_random_archs: int = Field(1, ge=0, le=1000)
    train_examples: int | None = Field(None, ge=1)
    valid_examples: int | None = Field(None, ge=1)
    seed: int = Field(1, ge=-MAX_SEED, le=MAX_SEED)
    compute: Literal["auto", "cpu", "cuda"] = "auto"
    amp: Literal["auto", "none", "bf16", "fp16"] = "auto"
    activation_checkpointing: bool = False
    threads: int | None = Field(None, ge=1, le=1024)
    validate_every: int = Field(500, ge=1)
    checkpoint_every: int = Field(100, ge=1)
    # changes no result: it is in no fingerprint
    log: Literal["jsonl", "tensorboard"] = Field("jsonl", exclude=True)

    @property
    def fingerprinted(self) -> Self:
        """What the trained weights depend on; all else as by default."""
        unset = {name: type(self).model_fields[name].default for name in self.without_effect}
        return self.model_copy(update=unset)

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if self.sandwich == "none" and self.num_random_archs == 0:
            raise ValueError(
                'sandwich is "none" and num_random_archs 0: nothing is left to train; raise '
                "num_random_archs to 1 or more"
            )
        return self


class FinetuneConfig(Record):
    """Training of one subnet alone, after the search; what is not said here is as in [training].

    The learning rate peaks at the supernet's, after a tenth of the steps, or a fiftieth where the
    supernet's rate was constant and all is inherited. Most of a walk's compute should go into its
    winner. `inherited_share`: how much of its matrices is inherited, the rest
    being fresh weights (shrink and perturb); of translations. With `same_time` the steps are those
    of the reference architecture, of median work, and any other has as many as take as long.

    With `teacher = "largest"` half of the loss is the divergence from the distributions of the
    largest subnet, trained alone before.
    """

    steps: Steps = 500
    inherited_share: float = Field(1.0, gt=0, le=1)
    same_time: bool = False
    teacher: Literal["largest"] | None = None


MIN_BUDGET = 4
MAX_BUDGET = 1000
"""Subnets of a profile: at least, and at most, of which the ones to measure are chosen."""


class ProfileConfig(Record):
    """How many subnets to measure on the device."""

    budget: int = Field(30, ge=MIN_BUDGET, le=MAX_BUDGET)


class SearchConfig(Record):
    """The limits, evolution as in HAT, and how many finalists are measured on the device.

    `statistic` is the figure of the measured times that a latency limit is about.

    What a subnet may cost: `max_latency` on the device; `max_parameters`, without the embedding
    table where `count` is "encoder"; `max_size` of the bundle; `max_memory` that the process takes
    on the device beyond the interpreter and the runtime, which is predicted as the bundle's model
    and the activations that a run of the workload holds.

    Of a generation a fifth are parents, whose mutants and crossovers are the rest.
    """

    max_latency: Duration | None = None
    max_parameters: Count | None = None
    count: ParameterCount = "total"
    max_size: Size | None = None
    max_memory: Size | None = None
    population: int = Field(125, ge=4, le=100_000)
    iterations: int = Field(30, ge=1, le=100_000)
    eval_examples: int = Field(256, ge=1)
    finalists: int = Field(5, ge=1, le=1000)
    statistic: Statistic = "median"

    @property
    def num_parents(self) -> int:
        """Architectures that a generation is made of; a fifth, as in HAT."""
        return max(2, self.population // 5)

    @property
    def num_mutants(self) -> int:
        """Mutants of a generation, and crossovers: the rest, in equal parts."""
        return (self.population - self.num_parents) // 2


class ExportConfig(Record):
    """Precision of the bundle, and how it is checked; a family adds the limits of its inputs.

    `precision`: None is the workload's; `auto` the fastest on the device whose score is at most
    `max_score_drop` below torch's. An exact precision is compared with torch on `parity_examples`
    validation examples, all others on `score_examples`.

    `trim_vocabulary` keeps of the vocabulary what the training and validation examples use, and the
    lines of the file `vocabulary_texts`; not every family can.
    """

    precision: Precision | Literal["auto"] | None = None
    parity_examples: int = Field(64, ge=1)
    score_examples: int = Field(500, ge=1)
    max_score_drop: float = Field(0.3, ge=0)
    trim_vocabulary: bool = False
    vocabulary_texts: str | None = None

    @property
    def workload_changes(self) -> dict[str, object]:
        """In what the workload of a bundle differs from [workload], precision apart."""
        return {}


class DeployConfig(Record):
    """Where the versions of a bundle stand on a device, `bundles/NAME`, by default under the name
    of the run folder; and how many stay: the current one, and those that a rollback goes back to.
    """

    name: Name | None = None
    keep_versions: int = Field(3, ge=1)


class RunConfig(Record):
    """All of `mosdeploy.toml` that families share; a family adds its data and narrows the types.

    Attributes
    ----------
    packages
        What the family's models need on a device besides what its profile requires, in the
        versions that mosdeploy itself asks for.
    data_note
        What else the digest of a family's data covers, in words.
    supernet_from
        The run folder whose supernet serves this task; all that this file does not say is as in the
        run file there.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    data_note: ClassVar[str] = ""

    family: str
    device: Name | None = None
    supernet_from: str | None = None
    space: CostedSpace
    supernet: SupernetConfig = SupernetConfig()
    training: TrainingConfig = TrainingConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    workload: Workload = Workload()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    export: ExportConfig = ExportConfig()
    deploy: DeployConfig = DeployConfig()

    @classmethod
    def completed(cls, data: dict[str, object], root: Path) -> dict[str, object]:
        """The content of a run file with what follows from it and is not written there; paths in it
        start from `root`.
        """
        return data

    @property
    def gives_answers(self) -> bool:
        """Whether a bundle can answer with what is trained; else it is trained for tasks alone."""
        return True

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Rows of the embedding table."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Tokens of an example at most; longer ones are dropped."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What the task is, in a word that may name a file."""

    @property
    def draw_seed(self) -> int:
        """Seed of what numpy draws outside of a training: none below 0."""
        return self.training.seed % 2**63

    @property
    def teacher_steps(self) -> int:
        """Steps of a teacher's training before that of the supernet; 0 where there is none."""
        return 0

    @property
    def data_sections(self) -> dict[str, Record]:
        """Sections that the digest of the data covers as well, by name."""
        return {}

    @property
    def spec(self) -> ModelSpec:
        """The model that latency and cost are asked of."""
        return ModelSpec(self.space, self.vocab_size, self.workload)
