"""What can be delivered in place of a winner that does not keep its limit as deployed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import StaleInputError
from ..records import BundleManifest, Candidate
from ..run_folder.context import Context
from ..run_folder.subnets import ALONE, subnet_card
from ..run_folder.trained_run import trained_run
from ..storage import sha256_file
from .export import export
from .export_job import ExportOptions


@dataclass(frozen=True)
class OtherFinalist:
    """A finalist that kept the limits as measured, the latency that is expected of it as deployed,
    and whether that misses the limit.
    """

    candidate: Candidate
    expected_ms: float
    is_too_slow: bool


def other_finalists(
    context: Context, manifest: BundleManifest, deployed_ms: float | None
) -> list[OtherFinalist]:
    """Finalists that kept the limits as measured, those first that are expected to keep them as
    deployed, of these the one of lowest loss first.
    """
    from ..search import quality

    path = context.files.search_result_path
    if manifest.is_pick:  # who picked it wants it, and no other
        return []
    if not path.exists() or manifest.provenance.get("search") != sha256_file(path):
        return []
    try:
        result = trained_run(context.run).search_result()
    except StaleInputError:  # another supernet stands here now; that the limit is missed stands too
        return []
    limit_ms = result.limits.max_latency_ms or math.inf
    missed = next((c for c in result.finalists if c.arch == manifest.arch), result.winner)
    growth = deployed_ms / missed.measured_ms if deployed_ms and missed.measured_ms else 1.0
    # one that is fast enough takes too much memory: those help that took less
    is_fast = deployed_ms is not None and deployed_ms <= limit_ms
    most_bytes = missed.measured_memory_bytes if is_fast else None
    others = []
    for candidate in result.kept:
        taken_bytes = candidate.measured_memory_bytes
        if most_bytes is not None and taken_bytes is not None and taken_bytes >= most_bytes:
            continue
        if candidate.arch != missed.arch and candidate.measured_ms is not None:
            expected_ms = candidate.measured_ms * growth
            others.append(OtherFinalist(candidate, expected_ms, expected_ms > limit_ms))

    def order(other: OtherFinalist) -> tuple[bool, float, float]:
        rank = (other.expected_ms, 0.0) if other.is_too_slow else quality(other.candidate)
        return other.is_too_slow, *rank

    return sorted(others, key=order)


@dataclass(frozen=True)
class FastMember:
    """A member of a search's front by its number, and the latency that is expected as deployed."""

    number: int
    expected_ms: float


def fast_member(
    context: Context, manifest: BundleManifest, taken_ms: Mapping[str, float | None]
) -> FastMember | None:
    """The best member of the search's front that is expected to keep a bundle's limit as deployed,
    where nothing that was tried does; None if none is, or nothing tells.
    """
    from ..search.front import best_within, front_members, needed_ms

    try:
        result = trained_run(context.run).search_result()
    except StaleInputError:
        return None
    limit_ms = manifest.limit_ms or result.limits.max_latency_ms
    took = {key: ms for key, ms in taken_ms.items() if ms is not None}
    # where one is fast enough, it is memory that it takes too much of
    if limit_ms is None or not took or min(took.values()) <= limit_ms:
        return None
    if result.device != manifest.device:
        return None
    members = front_members(result)
    known_ms = {x.arch.key: x.measured_ms or needed_ms(x) for x in (*members, *result.finalists)}
    growths = [ms / known for key, ms in took.items() if (known := known_ms.get(key))]
    if not growths:
        return None
    left = [member for member in members if member.arch.key not in taken_ms]
    best = best_within(left, limit_ms / max(growths))
    if best is None:
        return None
    expected_ms = (needed_ms(left[best]) or 0.0) * max(growths)
    return FastMember(members.index(left[best]) + 1, expected_ms)


def has_weights(context: Context, manifest: BundleManifest, other: OtherFinalist) -> bool:
    """Whether a finalist can replace a bundle as it is: one that was trained on is replaced by none
    that was not.
    """
    if manifest.weights not in ALONE:
        return manifest.weights == "inherited"
    try:
        subnet_card(trained_run(context.run), other.candidate.arch, manifest.weights)
    except StaleInputError:
        return False
    return True


def export_in_place_of(context: Context, manifest: BundleManifest, other: OtherFinalist) -> Path:
    """Export a finalist as another bundle was: with its workload, weights, vocabulary and runtime,
    for its device, and within what it might lose.
    """
    vocab_size = context.run.supernet_card().vocab_size
    options = ExportOptions(
        pick=other.candidate.arch.key,
        precision=manifest.workload.precision,
        # all fields, its beam and its shortlist too: a dump leaves a shortlist of 0 out
        workload={name: value for name, value in manifest.workload if name != "precision"},
        weights=manifest.weights,
        device=manifest.device,
        max_score_drop=manifest.max_score_drop,
        runtime=manifest.runtime,
        trim_vocabulary=manifest.vocab_size < vocab_size,
        replaces_winner=True,
    )
    return export(context, options).path
