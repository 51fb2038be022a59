"""What one latency number stands for, and the model that is asked about: a space, its vocabulary,
its workload.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..record import Name, Record, parse
from .costs import Inventory
from .genes import ArchConfig, GeneArray, SearchSpace

Precision = Literal[
    "fp32", "fp32-int4-logits", "int8", "int8-fp32-embedding", "int8-int4-logits", "int4"
]

FloatArray = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64] | npt.NDArray[np.float64]
"""A population: gene rows, or means over layers."""


class StageInput(Record):
    """One input of a model, as a device makes it up: random integers from [low, high), or one value
    everywhere.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Literal["int64", "float32"] = "int64"
    low: int = 0
    high: int = 1
    value: float | None = None


class TimingStage(Record):
    """One way to run a model that is timed on its own; what runs it knows only these inputs.

    Attributes
    ----------
    name
        `total` is the whole run as deployed, and comes first.
    minus
        The stage whose time is taken off, pair by pair: what is left belongs to this stage alone.
        Such a stage is not run; its own time is that of `total`.
    """

    name: Name
    inputs: tuple[StageInput, ...] = ()
    minus: str | None = None


class Workload(Record):
    """What one latency number stands for; a family adds the sizes of its inputs.

    Attributes
    ----------
    precisions
        Those that the family's graphs can be built in.
    """

    precisions: ClassVar[tuple[Precision, ...]] = get_args(Precision)

    name: Name = "sentence"
    threads: int = Field(1, ge=1, le=1024)
    precision: Precision = "fp32"

    @model_validator(mode="after")
    def _precision_exists(self) -> Self:
        if self.precision not in self.precisions:
            raise ValueError(
                f"precision '{self.precision}' is not one of this family; its precisions: "
                f"{', '.join(self.precisions)}"
            )
        return self

    @property
    def possible_precisions(self) -> tuple[Precision, ...]:
        """Those that it may have in place of its own."""
        return self.precisions

    def beside(self, other: "Workload") -> list[tuple[str, object, object]]:
        """Each field of either, as `workload.NAME`, with its own value and the other's; None where
        one lacks it.
        """
        names = dict.fromkeys((*type(self).model_fields, *type(other).model_fields))
        return [
            (f"workload.{name}", getattr(self, name, None), getattr(other, name, None))
            for name in names
        ]

    @property
    def is_exact(self) -> bool:
        """Whether nothing is left out or rounded, so that answers are those of torch."""
        return self.precision == "fp32"

    @property
    def answer_passes(self) -> int:
        """What an answer costs, in times of a forward pass over an example of a batch."""
        return 1

    @property
    def label(self) -> str:
        """What tells it from others of the same space, beside the precision, in a file's name; may
        be empty, else starts with a hyphen.
        """
        return ""


class CostedSpace(SearchSpace):
    """A search space and what its architectures cost under a workload.

    Attributes
    ----------
    feature_names
        Names of the latency features, those that carry nearly all of the time first.
    num_core_features
        How many those are; a fit on few samples uses only these.
    overhead_features
        Those of them that stand for overhead: what a run and a step cost at least. It differs more
        between devices and runtimes than the cost of arithmetic does, so that these are fitted anew
        where the predictor of another device is corrected.
    """

    feature_names: ClassVar[tuple[str, ...]]
    num_core_features: ClassVar[int]
    overhead_features: ClassVar[tuple[str, ...]]

    @abstractmethod
    def inventory(self, arch: ArchConfig, vocab_size: int, workload: Workload) -> Inventory:
        """What an architecture holds and computes."""

    @abstractmethod
    def latency_features(self, sums: FloatArray, vocab_size: int, workload: Workload) -> FloatArray:
        """What costs time, (N, C), not negative, from sums over layers (N, A) in the order of
        `mean_order`.
        """

    def latency_features_of_genes(
        self, genes: Rows, vocab_size: int, workload: Workload
    ) -> FloatArray:
        """The same from gene rows (N, G), for spaces whose layers do not all cost alike."""
        return self.latency_features(self.sum_genes(genes), vocab_size, workload)

    @abstractmethod
    def timing_stages(self, vocab_size: int, workload: Workload) -> tuple[TimingStage, ...]:
        """What is timed on a device, `total` first."""


@dataclass(frozen=True)
class ModelSpec:
    """The space, the vocabulary and the workload that a question about cost or latency is about.

    Examples
    --------
    >>> from mosdeploy.config import load_recipe
    >>> spec = load_recipe("tiny").spec
    >>> spec.num_parameters(spec.space.smallest) < spec.num_parameters(spec.space.largest)
    True
    """

    space: CostedSpace
    vocab_size: int
    workload: Workload

    def inventory(self, arch: ArchConfig) -> Inventory:
        """What an architecture holds and computes."""
        return self.space.inventory(arch, self.vocab_size, self.workload)

    def num_parameters(self, arch: ArchConfig) -> int:
        """Exact number of weights of the extracted subnet."""
        return self.inventory(arch).num_parameters

    def num_macs(self, arch: ArchConfig) -> int:
        """Exact multiply-accumulates of one run of the workload (matrix products only)."""
        return self.inventory(arch).num_macs

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the latency features, in order."""
        return self.space.feature_names

    @property
    def num_core_features(self) -> int:
        """How many of the features, the first ones, carry nearly all of the time."""
        return self.space.num_core_features

    @property
    def overhead_features(self) -> tuple[str, ...]:
        """Names of the features that stand for what a run and a step cost at least."""
        return self.space.overhead_features

    def latency_features(self, genes: Rows) -> FloatArray:
        """What costs time, (N, C), not negative, of a population of gene rows (N, G)."""
        return self.space.latency_features_of_genes(genes, self.vocab_size, self.workload)

    def latency_features_of_means(self, rows: FloatArray) -> FloatArray:
        """The same from means over layers (N, A), in the order of the space's `mean_order`."""
        return self.space.latency_features(
            self.space.sum_aggregates(rows), self.vocab_size, self.workload
        )

    def timing_stages(self) -> tuple[TimingStage, ...]:
        """What is timed on a device, `total` first."""
        return self.space.timing_stages(self.vocab_size, self.workload)

    def with_workload(self, **changes: object) -> "ModelSpec":
        """The same model under a changed workload.

        Raises
        ------
        ConfigError
            If the workload has no such field, or a value is out of range.
        """
        given = self.workload.model_dump(mode="json") | changes
        workload = parse(type(self.workload), given, "workload")
        return ModelSpec(self.space, self.vocab_size, workload)

    def reference_arch(self, num_samples: int = 101) -> ArchConfig:
        """An architecture of middling work: of some random ones, always the same, the median by
        multiply-accumulates.
        """
        rng = np.random.default_rng(0)
        drawn: Sequence[ArchConfig] = [self.space.sample(rng) for _ in range(num_samples)]
        return sorted(drawn, key=self.num_macs)[num_samples // 2]

    def gene_rows(self, archs: Sequence[ArchConfig]) -> GeneArray:
        """A population as gene rows (N, G)."""
        return self.space.genes(archs)
