"""More layers for the best of a search, as far as the limits allow."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, GeneArray, SearchSpace, all_depths, depth_genes
from .constraints import ConstraintTable, columns_of
from .evolution import Evolution, losses_of, with_candidates
from .oracle import SearchOracle
from .quality import loss_alone, num_layers

MAX_RISE = 0.05
"""By how much the inherited loss of a deeper subnet may be above that of the best, as a share."""


def with_deeper(
    evolution: Evolution, space: SearchSpace, limits: Limits, oracle: SearchOracle
) -> Evolution:
    """Add what is like the best candidate but for more layers and the narrowest FFNs."""
    constraints = ConstraintTable(space, limits, oracle.cost, oracle.predict_ms)
    best = evolution.ranked[0]
    archs = list(dict.fromkeys(_deeper(best.arch, constraints)))
    losses = losses_of(evolution, archs, oracle)
    most = best.loss + MAX_RISE * loss_alone(best)
    accepted = [
        constraints.candidate(arch, loss)
        for arch in archs
        if (loss := losses[arch]) is not None and loss <= most
    ]
    found = [_compared(candidate, [best, *accepted]) for candidate in accepted]
    return with_candidates(evolution, found, archs)


def _compared(candidate: Candidate, others: Sequence[Candidate]) -> Candidate:
    """A candidate that stands by the loss of the best with fewer layers, if that is lower."""
    own = num_layers(candidate)
    least = min((x.loss for x in others if num_layers(x) < own), default=math.inf)
    narrow_loss = least if least < candidate.loss else None
    return candidate.model_copy(update={"narrow_loss": narrow_loss})


def _deeper(arch: ArchConfig, constraints: ConstraintTable) -> Iterator[ArchConfig]:
    """One for each deeper combination of numbers of layers that the limits allow."""
    space = constraints.space
    now = space.depths(arch)
    narrowest = (
        columns_of(space, lambda gene: gene.field == "ffn_dim"),
        columns_of(space, lambda gene: gene.is_per_layer),
    )
    for depths in all_depths(space):
        more = [deeper - own for deeper, own in zip(depths, now, strict=True)]
        if min(more) < 0 or max(more) == 0:
            continue
        # with the heads of the layers that are there; where these are too many, with the fewest
        for narrow in narrowest:
            deeper = space.from_genes(space.repair(_row(space, arch, depths, narrow)))
            if constraints.violation(deeper) == 0.0:
                yield deeper
                break


def _row(
    space: SearchSpace,
    arch: ArchConfig,
    depths: tuple[int, ...],
    narrow: npt.NDArray[np.bool_],
) -> GeneArray:
    """Genes of an architecture with other depths; layers that it lacks are like its last ones."""
    row = space.to_genes(arch)
    for gene, now, then in zip(depth_genes(space), space.depths(arch), depths, strict=True):
        row[space.gene_slices[gene.choices]] = then
        for part in space.entries:
            if part.is_per_layer and part.stack == gene.stack:
                column = row[space.gene_slices[part.choices]]
                column[now:then] = column[now - 1]
    smallest = np.array([min(choices) for choices in space.gene_choices])
    return np.where(narrow, smallest, row)
