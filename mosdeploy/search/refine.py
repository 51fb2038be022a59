"""More layers and wider FFNs for the best of a search, as far as the limits allow.

A short training of the supernet favours small subnets: the first neurons of an FFN are trained with
every subnet, the last ones with the widest alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, Gene, GeneArray, SearchSpace, all_depths, depth_genes
from .constraints import ConstraintTable, SearchOracle, neighbours_of
from .front import Evolution, num_layers, quality

MAX_DEPTH_RISE = 0.05
"""By how much the loss of a deeper subnet may be above that of the best, as a share."""
MAX_WIDTH_RISE = 0.02
"""By how much the loss of a wider subnet may be above that of its origin, as a share; it was 0.009
at most where wider ones were better.
"""

Losses = Mapping[ArchConfig, float | None]


def add_layers(
    evolution: Evolution, space: SearchSpace, limits: Limits, oracle: SearchOracle
) -> Evolution:
    """Add deeper subnets with the narrowest FFNs that are otherwise like the best candidate."""
    constraints = ConstraintTable(space, limits, oracle)
    best = evolution.ranked[0]
    archs = list(dict.fromkeys(_deeper(best.arch, constraints)))
    losses = _losses(evolution, archs, oracle)
    most = best.loss + MAX_DEPTH_RISE * loss_without_time(best)
    accepted = [best]
    for arch in archs:
        loss = losses[arch]
        if loss is not None and loss <= most:
            accepted.append(constraints.candidate(arch, loss))
    found = []
    for candidate in accepted[1:]:
        # a deeper one stands by the least loss of those with fewer layers
        fewer = [x.loss for x in accepted if num_layers(x) < num_layers(candidate)]
        least = min(fewer, default=math.inf)
        base_loss = least if least < candidate.loss else None
        found.append(candidate.model_copy(update={"base_loss": base_loss}))
    return evolution.with_candidates(found, archs)


def widen_ffn(
    evolution: Evolution, space: SearchSpace, limits: Limits, oracle: SearchOracle, count: int
) -> Evolution:
    """Add all subnets between the best candidates and the widest FFNs within the limits."""
    constraints = ConstraintTable(space, limits, oracle)
    # those that the evolution itself found too, which come after all that have more layers
    alone = [candidate for candidate in evolution.ranked if candidate.base_loss is None]
    origins = dict.fromkeys([*evolution.ranked[:count], *alone[:count]])
    paths = {origin: _path(origin.arch, constraints) for origin in origins}
    evaluated = list(dict.fromkeys(arch for path in paths.values() for arch in path))
    losses = _losses(evolution, evaluated, oracle)
    found: dict[ArchConfig, Candidate] = {}
    # the best first; beside the next one a wider subnet need not be clearly worse
    for origin, path in paths.items():
        for arch, loss, base_loss in _accepted(origin, path, losses):
            candidate = constraints.candidate(arch, loss)
            found.setdefault(arch, candidate.model_copy(update={"base_loss": base_loss}))
    return evolution.with_candidates(list(found.values()), evaluated)


def loss_without_time(candidate: Candidate) -> float:
    """Return the loss without the penalty for the time of training steps."""
    return abs(candidate.loss - (candidate.time_loss or 0.0))


def _losses(evolution: Evolution, archs: Sequence[ArchConfig], oracle: SearchOracle) -> Losses:
    """Return the losses of all that an evolution ranked, and of further architectures."""
    known = {candidate.arch: candidate.loss for candidate in evolution.ranked}
    new = [arch for arch in archs if arch not in known]
    return {**known, **dict(zip(new, oracle.losses(new), strict=True))}


def _deeper(arch: ArchConfig, constraints: ConstraintTable) -> Iterator[ArchConfig]:
    """Yield one architecture for each deeper combination of depths that the limits allow."""
    space = constraints.space
    now = space.depths(arch)
    # with the heads of the layers that are there; where these are too many, with the fewest
    narrowest = (
        _columns_of(space, lambda gene: gene.field == "ffn_dim"),
        _columns_of(space, lambda gene: gene.is_per_layer),
    )
    for depths in all_depths(space):
        more = [deeper - own for deeper, own in zip(depths, now, strict=True)]
        if min(more) < 0 or max(more) == 0:
            continue
        for narrow in narrowest:
            deeper = space.from_genes(space.repair(_row(space, arch, depths, narrow)))
            if constraints.violation(deeper) == 0.0:
                yield deeper
                break


def _row(
    space: SearchSpace, arch: ArchConfig, depths: tuple[int, ...], narrow: npt.NDArray[np.bool_]
) -> GeneArray:
    """Return genes with other depths and the smallest choices of some columns; new layers are like
    the last one of their stack.
    """
    row = space.to_genes(arch)
    for gene, now, then in zip(depth_genes(space), space.depths(arch), depths, strict=True):
        row[space.gene_slices[gene.choices]] = then
        for part in space.entries:
            if part.is_per_layer and part.stack == gene.stack:
                column = row[space.gene_slices[part.choices]]
                column[now:then] = column[now - 1]
    smallest = np.array([min(choices) for choices in space.gene_choices])
    return np.where(narrow, smallest, row)


def _path(arch: ArchConfig, constraints: ConstraintTable) -> list[ArchConfig]:
    """Widen one FFN after the other, always the one that costs least, up to the limits."""
    path = [arch]
    while fitting := _one_wider(path[-1], constraints):
        path.append(min(fitting, key=lambda x: (constraints.objective(x), x.key)))
    return path[1:]


def _one_wider(arch: ArchConfig, constraints: ConstraintTable) -> list[ArchConfig]:
    """Return all within the limits that have one FFN wider and are alike otherwise."""
    space = constraints.space
    is_ffn = _columns_of(space, lambda gene: gene.field == "ffn_dim")
    found = neighbours_of(space, arch)
    more = space.genes(found) - space.to_genes(arch)
    is_wider = (more[:, is_ffn] >= 0).all(1) & (more[:, ~is_ffn] == 0).all(1)
    wider = [x for x, good in zip(found, is_wider, strict=True) if good]
    constraints.prefetch(wider)
    return [x for x in wider if constraints.violation(x) == 0.0]


def _accepted(
    origin: Candidate, path: Sequence[ArchConfig], losses: Losses
) -> Iterator[tuple[ArchConfig, float, float | None]]:
    """Yield what is not clearly worse than the origin of a path: architecture, loss, base loss."""
    rise = MAX_WIDTH_RISE * loss_without_time(origin)
    narrower = [(origin.loss, quality(origin)[0])]
    for arch in path:
        loss = losses[arch]
        if loss is None or loss - origin.loss > rise:
            continue
        # the least loss of a narrower one that is not clearly better: noise in one of them is no
        # reason to stop there
        least = min(compared for own, compared in narrower if loss - own <= rise)
        yield arch, loss, least if loss > least else None
        narrower.append((loss, loss))


def _columns_of(space: SearchSpace, is_wanted: Callable[[Gene], bool]) -> npt.NDArray[np.bool_]:
    """Mask of the columns of a gene row whose table entries are wanted, (G,)."""
    found = np.zeros(space.num_genes, dtype=np.bool_)
    for gene in space.entries:
        found[space.gene_slices[gene.choices]] = is_wanted(gene)
    return found
