"""Workloads, costs, and the model that a question about cost or latency is about."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..errors import ConfigError
from ..record import Name, Record, parse
from .genes import ArchConfig, GeneArray, SearchSpace


@dataclass(frozen=True)
class Product:
    """One matrix product: `rows` vectors of `inputs` numbers times a matrix (inputs, outputs)."""

    name: str  # as in the network: encoder.layers.0.self_attn.qkv
    part: str  # of the graph; parts may be stored in different number formats
    rows: int
    inputs: int
    outputs: int
    # a matrix of its own, with a bias; a table that is counted elsewhere; scores or mixed values
    matrix: Literal["weight", "shared", "activation"] = "weight"

    @property
    def num_macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.inputs * self.outputs

    @property
    def num_parameters(self) -> int:
        """Numbers in the matrix and its bias; 0 where the matrix is not the product's own."""
        return (self.inputs + 1) * self.outputs if self.matrix == "weight" else 0


@dataclass(frozen=True)
class Inventory:
    """Everything that one network holds and computes on one workload."""

    products: tuple[Product, ...]
    norm_widths: tuple[int, ...]  # each norm has a gain and a bias
    table_parts: tuple[int, ...]  # columns of each part of the embedding table
    vocab_size: int  # its rows
    num_other: int = 0  # position tables and biases, which stay fp32 in every precision
    id_bytes: int = 0  # of lists of ids, beside the weights
    num_activations: int = 0  # most numbers that are needed at one time of a run

    @property
    def activation_bytes(self) -> int:
        """Bytes of the most activations at one time."""
        return 4 * self.num_activations

    @property
    def num_parameters(self) -> int:
        """Exact number of weights."""
        return self.num_body_parameters + self.vocab_size * sum(self.table_parts)

    @property
    def num_body_parameters(self) -> int:
        """Exact number of weights without the embedding table."""
        weights = sum(product.num_parameters for product in self.products)
        return weights + 2 * sum(self.norm_widths) + self.num_other

    @property
    def num_macs(self) -> int:
        """Exact multiply-accumulates of one run (matrix products only)."""
        return sum(product.num_macs for product in self.products)

    def num_bytes(
        self, matrix_bytes: Callable[[Product], int], table_bytes: Callable[[int, int], int]
    ) -> int:
        """Bytes of all weights, and of lists of ids, in a file."""
        own = [product for product in self.products if product.matrix == "weight"]
        num_biases = sum(product.outputs for product in own)
        vectors = 4 * (2 * sum(self.norm_widths) + num_biases + self.num_other)
        tables = sum(table_bytes(self.vocab_size, columns) for columns in self.table_parts)
        return vectors + sum(matrix_bytes(product) for product in own) + tables + self.id_bytes


def attention_activations(num_positions: int, num_read: int, dim: int, qkv_dim: int) -> int:
    """Numbers that an attention holds beside the scores, if `num_read` of its positions are
    computed: its input and output, queries, keys, values and their mixture.
    """
    return (num_positions + num_read) * (dim + 2 * qkv_dim)


def ffn_activations(num_positions: int, dim: int, ffn_dim: int) -> int:
    """Numbers that an FFN holds: its input and output, and what goes into its activation function
    and comes out.
    """
    return 2 * num_positions * (dim + ffn_dim)


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
    """One way to run a model that is timed on its own; what runs it knows only these inputs."""

    name: Name  # `total` is the whole run as deployed, and comes first
    inputs: tuple[StageInput, ...] = ()
    # a stage whose time is taken off that of `total`, pair by pair; the stage itself is not run
    minus: str | None = None


class Workload(Record):
    """The run that one latency number is of; a family adds the sizes of its inputs, and names the
    precisions that its graphs can be built in.
    """

    precisions: ClassVar[tuple[Precision, ...]] = get_args(Precision)

    name: Name = "sentence"
    threads: int = Field(1, ge=1, le=256)
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
    def one_example(self) -> Self:
        """The same for one example without a beam, as a training reads it."""
        return self

    @property
    def possible_precisions(self) -> tuple[Precision, ...]:
        """Precisions that may replace its own."""
        return self.precisions

    def changed(self, changes: Mapping[str, object]) -> Self:
        """Return the workload with other values of some fields; None leaves what it says.

        Raises
        ------
        ConfigError
            If the family has no such field, or a value is not allowed.
        """
        precision = changes.get("precision")
        if precision is not None and precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise ConfigError(f"unknown precision '{precision}'; known: {known}, auto")
        values = {name: value for name, value in changes.items() if value is not None}
        if unknown := values.keys() - type(self).model_fields.keys():
            raise ConfigError(
                f"models of this family have no {min(unknown)}: leave it out; their workloads have "
                f"{', '.join(type(self).model_fields)}"
            )
        return parse(type(self), {**self.model_dump(mode="json"), **values}, "workload")

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
        """Cost of an answer, in times of a forward pass over an example of a batch."""
        return 1

    @property
    def label(self) -> str:
        """Part of a bundle's name that tells it from other workloads, beside the precision; may
        be empty, else starts with a hyphen.
        """
        return ""


class CostedSpace(SearchSpace):
    """A search space and what its architectures cost under a workload."""

    # of the latency features; the first `num_core_features`, with which few samples are fitted,
    # carry nearly all of the time
    feature_names: ClassVar[tuple[str, ...]]
    num_core_features: ClassVar[int]
    # what a run and a step cost at least: it differs more between devices than arithmetic does, and
    # is fitted anew where the predictor of another device is corrected
    overhead_features: ClassVar[tuple[str, ...]]

    @abstractmethod
    def inventory(self, arch: ArchConfig, vocab_size: int, workload: Workload) -> Inventory:
        """Inventory of an architecture."""

    @abstractmethod
    def latency_features(self, sums: FloatArray, vocab_size: int, workload: Workload) -> FloatArray:
        """Latency features, (N, C), not negative, from sums over layers (N, A) in the order of
        `mean_order`.
        """

    def latency_features_of_genes(
        self, genes: Rows, vocab_size: int, workload: Workload
    ) -> FloatArray:
        """The same from gene rows (N, G), for spaces whose layers do not all cost alike."""
        return self.latency_features(self.sum_genes(genes), vocab_size, workload)

    @abstractmethod
    def timing_stages(self, vocab_size: int, workload: Workload) -> tuple[TimingStage, ...]:
        """Stages that are timed on a device, `total` first."""


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
        """Inventory of an architecture."""
        return self.space.inventory(arch, self.vocab_size, self.workload)

    def num_parameters(self, arch: ArchConfig) -> int:
        """Exact number of weights of the extracted subnet."""
        return self.inventory(arch).num_parameters

    def num_macs(self, arch: ArchConfig) -> int:
        """Exact multiply-accumulates of one run of the workload (matrix products only)."""
        return self.inventory(arch).num_macs

    def latency_features(self, genes: Rows) -> FloatArray:
        """Latency features, (N, C), not negative, of a population of gene rows (N, G)."""
        return self.space.latency_features_of_genes(genes, self.vocab_size, self.workload)

    def latency_features_of_means(self, rows: FloatArray) -> FloatArray:
        """The same from means over layers (N, A), in the order of the space's `mean_order`."""
        return self.space.latency_features(
            self.space.sum_aggregates(rows), self.vocab_size, self.workload
        )

    def timing_stages(self) -> tuple[TimingStage, ...]:
        """Stages that are timed on a device, `total` first."""
        return self.space.timing_stages(self.vocab_size, self.workload)

    def with_workload(self, **changes: object) -> "ModelSpec":
        """The same model under a changed workload.

        Raises
        ------
        ConfigError
            If the workload has no such field, or a value is not allowed.
        """
        return replace(self, workload=self.workload.changed(changes))

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
