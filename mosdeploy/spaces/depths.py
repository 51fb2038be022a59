"""Architectures of a space by their numbers of layers."""

import itertools
from collections.abc import Iterator, Sequence

from .genes import ArchConfig, Gene, SearchSpace


def depth_genes(space: SearchSpace) -> list[Gene]:
    """The entries of the table that say how many layers each stack has."""
    return [gene for gene in space.entries if gene.is_depth]


def all_depths(space: SearchSpace) -> Iterator[tuple[int, ...]]:
    """Every combination of numbers of layers, stack by stack."""
    return itertools.product(*(getattr(space, gene.choices) for gene in depth_genes(space)))


def largest_of_depths(space: SearchSpace, depths: Sequence[int]) -> ArchConfig:
    """The largest architecture with so many layers in each stack."""
    row = space.to_genes(space.largest)
    for gene, depth in zip(depth_genes(space), depths, strict=True):
        row[space.gene_slices[gene.choices]] = depth
    return space.from_genes(row)
