"""Search spaces as tables of genes: sampling, mutation, crossover, checks and encodings."""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from ..errors import ArchError
from ..record import Record


def _sorted_choices(choices: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(choices)) != len(choices):
        raise ValueError("choices must differ from one another")
    return tuple(sorted(choices))


MAX_WIDTH = 65_536
"""No network is so wide: beyond it sizes overflow before memory ends."""

MAX_LAYERS = 1_000

Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
Choices = Annotated[tuple[Width, ...], Field(min_length=1), AfterValidator(_sorted_choices)]
"""Positive, different from one another, in ascending order."""

Depths = Annotated[
    tuple[Annotated[int, Field(gt=0, le=MAX_LAYERS)], ...],
    Field(min_length=1),
    AfterValidator(_sorted_choices),
]
"""The same of numbers of layers."""


@dataclass(frozen=True)
class Gene:
    """One entry of a family's table: a choice, and where it stands in an architecture."""

    choices: str  # the space's field that lists the choices
    stack: str | None = None  # the list of layers that make this choice; None: it is made once
    field: str | None = None  # its name in a layer; None: the number of layers of the stack
    at_most: str | None = None  # a stack whose number of layers bounds the choice

    @cached_property
    def is_depth(self) -> bool:
        """Whether this is the number of layers of a stack."""
        return self.stack is not None and self.field is None

    @cached_property
    def is_per_layer(self) -> bool:
        """Whether each layer of a stack makes this choice."""
        return self.stack is not None and self.field is not None


GeneArray = npt.NDArray[np.int64]


class ArchConfig(Record):
    """One network of a search space; a family adds the fields. Holds only the layers that exist."""

    @cached_property
    def key(self) -> str:
        """Sixteen hex digits that name this architecture in files and logs."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class SearchSpace(Record):
    """All architectures that one supernet holds: lists of choices under a family's table of genes.

    Attributes
    ----------
    table
        Entries in the order of the gene row. One that a space leaves out has None for its choices.
    arch_type, layer_types
        The record of an architecture, and of one layer of each of its stacks.
    mean_order
        Names of the choices in the order in which `aggregate` reports them.
    """

    table: ClassVar[tuple[Gene, ...]]
    arch_type: ClassVar[type[ArchConfig]]
    layer_types: ClassVar[dict[str, type[Record]]]
    mean_order: ClassVar[tuple[str, ...]]

    # -- shape of a gene row

    @cached_property
    def entries(self) -> tuple[Gene, ...]:
        """Entries of the table that this space does not leave out."""
        return tuple(gene for gene in self.table if getattr(self, gene.choices) is not None)

    @property
    def mean_names(self) -> tuple[str, ...]:
        """Names of their choices, in the order of `mean_order`."""
        return tuple(name for name in self.mean_order if getattr(self, name) is not None)

    @cached_property
    def gene_slices(self) -> dict[str, slice]:
        """Column range of each entry in a gene row; a per-layer entry has one column a layer of the
        deepest net.
        """
        slices = {}
        start = 0
        for gene in self.entries:
            width = max(self._choices(self._depth_gene(gene.stack))) if gene.is_per_layer else 1
            slices[gene.choices] = slice(start, start + width)
            start += width
        return slices

    @cached_property
    def num_genes(self) -> int:
        """Length of a gene row."""
        return len(self.gene_choices)

    @cached_property
    def gene_choices(self) -> tuple[tuple[int, ...], ...]:
        """The choices of each gene-row column."""
        slices = self.gene_slices.items()
        return tuple(
            getattr(self, name)
            for name, columns in slices
            for _ in range(columns.stop - columns.start)
        )

    @cached_property
    def num_architectures(self) -> int:
        """Number of different architectures in the space (exact)."""
        once = [gene for gene in self.entries if gene.stack is None]
        depths = [gene for gene in self.entries if gene.is_depth]
        total = 0
        for combination in itertools.product(*(self._choices(gene) for gene in depths)):
            depth_of = {gene.stack: depth for gene, depth in zip(depths, combination, strict=True)}
            per_layer = (gene for gene in self.entries if gene.is_per_layer)
            total += math.prod(
                len(self._allowed(gene, depth_of)) ** depth_of[gene.stack] for gene in per_layer
            )
        return total * math.prod(len(self._choices(gene)) for gene in once)

    # -- architectures

    @cached_property
    def largest(self) -> ArchConfig:
        """The architecture with every choice at its maximum (most heads included)."""
        return self.from_genes(np.array([max(choices) for choices in self.gene_choices]))

    @cached_property
    def smallest(self) -> ArchConfig:
        """The architecture with every choice at its minimum."""
        return self.from_genes(np.array([min(choices) for choices in self.gene_choices]))

    def depths(self, arch: "ArchConfig") -> tuple[int, ...]:
        """Numbers of layers of an architecture, stack by stack."""
        return tuple(len(getattr(arch, gene.stack or "")) for gene in self.entries if gene.is_depth)

    def starters(self) -> Sequence["ArchConfig"]:
        """Architectures that a search should try first; none, unless a family knows some."""
        return ()

    def repeated(self, choices: Mapping[str, int]) -> "ArchConfig":
        """The architecture whose layers all make the same choices, by the names of entries."""
        row = np.zeros(self.num_genes, dtype=np.int64)
        for name, value in choices.items():
            row[self.gene_slices[name]] = value
        return self.from_genes(row)

    def sample(self, rng: np.random.Generator) -> ArchConfig:
        """Draw an architecture, every choice uniform and independent."""
        return self.from_genes(self._sample_row(rng))

    def mutate(self, arch: ArchConfig, probability: float, rng: np.random.Generator) -> ArchConfig:
        """Redraw each gene with the given probability; layers that come into being are drawn
        afresh.
        """
        row = self.to_genes(arch)
        fresh = self._sample_row(rng)
        redraw = rng.random(self.num_genes) < probability
        return self.from_genes(self.repair(np.where(redraw | (row == 0), fresh, row)))

    def crossover(
        self, first: ArchConfig, second: ArchConfig, rng: np.random.Generator
    ) -> ArchConfig:
        """Take each gene from one parent or the other, with equal chance."""
        a = self.to_genes(first)
        b = self.to_genes(second)
        row = np.where(rng.random(self.num_genes) < 0.5, a, b)
        # what one parent lacks comes from the other
        row = np.where(row == 0, np.maximum(a, b), row)
        return self.from_genes(self.repair(np.where(row == 0, self._sample_row(rng), row)))

    def repair(self, row: GeneArray) -> GeneArray:
        """Lift a value that another stack's depth had cut short to the next choice."""
        for gene in self.entries:
            if gene.at_most is not None:
                columns = self.gene_slices[gene.choices]
                choices = np.array(self._choices(gene))
                row[columns] = choices[
                    np.minimum(np.searchsorted(choices, row[columns]), len(choices) - 1)
                ]
        return row

    def check(self, arch: ArchConfig) -> None:
        """Make sure that an architecture belongs to this space.

        Raises
        ------
        ArchError
            Naming the field, the value and the choices.
        """
        if not isinstance(arch, self.arch_type):
            raise ArchError(
                f"architecture outside the search space: a {type(arch).__name__}, not of this "
                "family"
            )
        depth_of: dict[str | None, int] = {
            stack: len(getattr(arch, stack)) for stack in self.layer_types
        }
        for gene in self.entries:
            allowed = self._allowed_in(arch, gene, depth_of)
            for i, value in enumerate(_values(gene, arch)):
                if value not in allowed:
                    name = f"{gene.stack}.{i}.{gene.field}" if gene.is_per_layer else gene.choices
                    raise ArchError(
                        f"architecture outside the search space: {name} is {value}, allowed: "
                        f"{list(allowed)}"
                    )

    # -- spellings

    def to_genes(self, arch: ArchConfig) -> GeneArray:
        """Spell an architecture as a gene row of shape (G,), zero where a layer does not exist.

        Raises
        ------
        ArchError
            If the architecture is not in this space.
        """
        self.check(arch)
        row = np.zeros(self.num_genes, dtype=np.int64)
        for gene in self.entries:
            values = _values(gene, arch)
            start = self.gene_slices[gene.choices].start
            row[start : start + len(values)] = values
        return row

    def genes(self, archs: Sequence[ArchConfig]) -> GeneArray:
        """Spell a population as an array of shape (N, G)."""
        return np.array([self.to_genes(arch) for arch in archs], dtype=np.int64).reshape(
            -1, self.num_genes
        )

    def from_genes(self, row: npt.ArrayLike) -> ArchConfig:
        """Read a gene row of shape (G,); columns of layers that do not exist are ignored.

        Raises
        ------
        ArchError
            If the row has another length, or a value that counts is not among its choices.
        """
        genes = np.asarray(row, dtype=np.int64)
        if genes.shape != (self.num_genes,):
            raise ArchError(
                f"a gene row of this space has shape ({self.num_genes},), got {genes.shape}"
            )
        part = {name: genes[columns].tolist() for name, columns in self.gene_slices.items()}
        try:
            arch = self._build(part)
        except (ValueError, IndexError) as error:
            raise ArchError(
                f"gene row {genes.tolist()} is not an architecture of this space: {error}"
            ) from error
        self.check(arch)
        return arch

    def encode(self, arch: ArchConfig) -> npt.NDArray[np.float32]:
        """Per-layer encoding of shape (G,), in [0, 1]: gene row over `gene_maxima`."""
        return (self.to_genes(arch) / self.gene_maxima).astype(np.float32)

    def decode(self, encoding: npt.ArrayLike) -> ArchConfig:
        """Invert `encode`."""
        return self.from_genes(np.rint(np.asarray(encoding, dtype=np.float64) * self.gene_maxima))

    # -- sums and means over layers

    def aggregate_genes(self, genes: GeneArray) -> npt.NDArray[np.float64]:
        """Means over the layers of a population: (N, G) to (N, A), in the order of `mean_order`."""
        return self._sums_to_means(self.sum_genes(genes), np.divide)

    def sum_genes(
        self, genes: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Sums over the layers of a population: (N, G) to (N, A), in the order of `mean_order`."""
        selector = np.zeros((self.num_genes, len(self.mean_names)))
        for i, name in enumerate(self.mean_names):
            selector[self.gene_slices[name], i] = 1.0
        return np.asarray(genes, dtype=np.float64) @ selector

    def sum_aggregates(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn means over layers (N, A) into sums over layers (N, A)."""
        return self._sums_to_means(np.array(rows, dtype=np.float64), np.multiply)

    # -- inner

    def _choices(self, gene: Gene) -> tuple[int, ...]:
        choices: tuple[int, ...] = getattr(self, gene.choices)
        return choices

    def _allowed(self, gene: Gene, depth_of: dict[str | None, int]) -> Sequence[int]:
        """The choices that differ once the bound by another stack's depth is applied."""
        choices = self._choices(gene)
        if gene.at_most is None:
            return choices
        return sorted({min(choice, depth_of[gene.at_most]) for choice in choices})

    def _allowed_in(
        self, arch: ArchConfig, gene: Gene, depth_of: dict[str | None, int]
    ) -> Sequence[int]:
        """The values of an entry that may stand in an architecture."""
        return self._allowed(gene, depth_of)

    def _depth_gene(self, stack: str | None) -> Gene:
        return next(gene for gene in self.entries if gene.is_depth and gene.stack == stack)

    def _build(self, part: dict[str, list[int]]) -> ArchConfig:
        """Make the record from the values of each table entry."""
        depth_of = {gene.stack: part[gene.choices][0] for gene in self.entries if gene.is_depth}
        fields: dict[str, object] = {
            gene.choices: part[gene.choices][0] for gene in self.entries if gene.stack is None
        }
        for stack, layer_type in self.layer_types.items():
            values: dict[str, list[int]] = {}
            for gene in self.entries:
                if gene.is_per_layer and gene.stack == stack:
                    column = part[gene.choices]
                    if gene.at_most is not None:
                        column = [min(value, depth_of[gene.at_most]) for value in column]
                    values[str(gene.field)] = column
            fields[stack] = tuple(
                layer_type(**{name: column[i] for name, column in values.items()})
                for i in range(depth_of[stack])
            )
        return self.arch_type(**fields)

    def _sums_to_means(
        self, rows: npt.NDArray[np.float64], operation: np.ufunc
    ) -> npt.NDArray[np.float64]:
        """Divide (or multiply) the column of each per-layer entry by the depth of its stack."""
        result = rows.copy()
        for i, name in enumerate(self.mean_names):
            gene = next(entry for entry in self.entries if entry.choices == name)
            if gene.is_per_layer:
                depth = self.mean_names.index(self._depth_gene(gene.stack).choices)
                result[:, i] = operation(rows[:, i], rows[:, depth])
        return result

    @property  # not cached: pydantic compares what is cached too, and arrays have no truth value
    def gene_maxima(self) -> GeneArray:
        """The largest choice of each gene, shape (G,)."""
        return np.array([max(choices) for choices in self.gene_choices], dtype=np.int64)

    def _sample_row(self, rng: np.random.Generator) -> GeneArray:
        return np.array(
            [choices[rng.integers(len(choices))] for choices in self.gene_choices], dtype=np.int64
        )


def _values(gene: Gene, arch: ArchConfig) -> list[int]:
    """Return the choices of an architecture for one entry: one value, or one a layer."""
    if gene.stack is None:
        return [getattr(arch, gene.choices)]
    layers = getattr(arch, gene.stack)
    return [len(layers)] if gene.field is None else [getattr(layer, gene.field) for layer in layers]


# -- architectures by their numbers of layers


def depth_genes(space: SearchSpace) -> list[Gene]:
    """Return the entries of the table that say how many layers each stack has."""
    return [gene for gene in space.entries if gene.is_depth]


def all_depths(space: SearchSpace) -> Iterator[tuple[int, ...]]:
    """Yield every combination of numbers of layers, stack by stack."""
    return itertools.product(*(getattr(space, gene.choices) for gene in depth_genes(space)))


def largest_of_depths(space: SearchSpace, depths: Sequence[int]) -> ArchConfig:
    """Return the largest architecture with so many layers in each stack."""
    row = space.to_genes(space.largest)
    for gene, depth in zip(depth_genes(space), depths, strict=True):
        row[space.gene_slices[gene.choices]] = depth
    return space.from_genes(row)
