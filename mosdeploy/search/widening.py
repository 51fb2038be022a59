"""Wider FFNs for the best of a search, as far as the limits allow."""

from collections.abc import Iterator, Mapping, Sequence

from ..records import Candidate, Limits
from ..spaces.genes import ArchConfig, SearchSpace
from .constraints import ConstraintTable, columns_of, neighbours_of
from .evolution import Evolution, losses_of, with_candidates
from .oracle import SearchOracle
from .quality import inherited_quality, loss_alone

MAX_RISE = 0.02
"""By how much the inherited loss of a wider subnet may be above that of the one it comes from, as a
share; it was 0.009 at most where wider ones were better.
"""


def with_wider(
    evolution: Evolution, space: SearchSpace, limits: Limits, oracle: SearchOracle, count: int
) -> Evolution:
    """Add all that lies between the best candidates and the widest FFNs of theirs that keep the
    limits.
    """
    constraints = ConstraintTable(space, limits, oracle.cost, oracle.predict_ms)
    # those of the evolution itself too, which come after all that have more layers
    alone = [candidate for candidate in evolution.ranked if candidate.narrow_loss is None]
    origins = dict.fromkeys([*evolution.ranked[:count], *alone[:count]])
    paths = [(origin, _path(origin.arch, constraints)) for origin in origins]
    evaluated = list(dict.fromkeys(arch for _, path in paths for arch in path))
    losses = losses_of(evolution, evaluated, oracle)
    found: dict[ArchConfig, Candidate] = {}
    # the best first; beside the next one a wider subnet need not be clearly worse
    for origin, path in paths:
        for arch, loss, narrow_loss in _accepted(origin, path, losses):
            candidate = constraints.candidate(arch, loss)
            compared = candidate.model_copy(update={"narrow_loss": narrow_loss})
            found.setdefault(arch, compared)
    return with_candidates(evolution, list(found.values()), evaluated)


def _accepted(
    origin: Candidate, path: Sequence[ArchConfig], losses: Mapping[ArchConfig, float | None]
) -> Iterator[tuple[ArchConfig, float, float | None]]:
    """Of a path what is not clearly worse than its origin, with its loss and, where that is lower,
    the least loss of what is narrower on the path and not clearly better: noise in one of them is
    no reason to stop there.
    """
    rise = MAX_RISE * loss_alone(origin)
    narrower = [(origin.loss, inherited_quality(origin)[0])]
    for arch in path:
        loss = losses[arch]
        if loss is None or loss - origin.loss > rise:
            continue
        least = min(compared for own, compared in narrower if loss - own <= rise)
        yield arch, loss, least if loss > least else None
        narrower.append((loss, loss))


def _path(arch: ArchConfig, constraints: ConstraintTable) -> list[ArchConfig]:
    """Architectures within the limits, each with one FFN wider than the one before: always the one
    that costs least.
    """
    path = [arch]
    while fitting := _one_wider(path[-1], constraints):
        path.append(min(fitting, key=lambda x: (constraints.objective(x), x.key)))
    return path[1:]


def _one_wider(arch: ArchConfig, constraints: ConstraintTable) -> list[ArchConfig]:
    """All within the limits that have one FFN wider and are alike otherwise."""
    space = constraints.space
    is_ffn = columns_of(space, lambda gene: gene.field == "ffn_dim")
    found = neighbours_of(space, arch)
    more = space.genes(found) - space.to_genes(arch)
    is_wider = (more[:, is_ffn] >= 0).all(1) & (more[:, ~is_ffn] == 0).all(1)
    wider = [x for x, good in zip(found, is_wider, strict=True) if good]
    constraints.prefetch(wider)
    return [x for x in wider if constraints.violation(x) == 0.0]
