"""The verb `walk`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..printable import latency, milliseconds, predicted, score
from ..run_folder.options import WalkOptions
from .options import Common
from .printing import table

if TYPE_CHECKING:
    from ..records import Candidate
    from ..run_folder.summaries import WalkSummary


def walk(common: Common, options: WalkOptions) -> None:
    """Run all that come after init, to a deployed bundle. A second call resumes."""
    from ..pipeline.walk import walk as go

    outcome = go(common.context(), options)
    rows = [*winner_rows(outcome), *bundle_rows(outcome)]
    common.show(outcome, table(("what", "value"), rows), "mosdeploy predict < FILE")


def winner_rows(outcome: "WalkSummary") -> list[tuple[str, str]]:
    """Make the rows about the network that was delivered."""
    found = _delivered(outcome)
    is_winner = found.arch == outcome.search.winner.arch
    rows = [
        ("winner" if is_winner else "in its place", f"{found.arch.key}  {found.arch}"),
        ("parameters", f"{found.num_parameters:,}"),
    ]
    if outcome.scores is None:
        return rows
    scores = {x.weights: x.metrics for x in outcome.scores.subnets.values() if x.arch == found.arch}
    metrics = scores[outcome.weights]
    rows.append((", ".join(metrics), metric_values(metrics)))
    if outcome.weights != "inherited" and "inherited" in scores:
        rows.append(("  before it was finetuned", metric_values(scores["inherited"])))
    return rows


def bundle_rows(outcome: "WalkSummary") -> list[tuple[str, str]]:
    """Make the rows about its latency, its limits, and where it lies."""
    from ..config.units import told_limit
    from ..run_folder.bundles import limited_bytes

    found = _delivered(outcome)
    deployment = outcome.deployment
    deployed_ms = deployment.measurement.figure_ms(deployment.statistic)
    rows = [
        (predicted(outcome.search.level), _milliseconds(found.predicted_ms)),
        ("measured", _milliseconds(found.measured_ms)),
        ("bundle measured", _milliseconds(deployed_ms)),
    ]
    for name, most in outcome.search.limits.model_dump(exclude_none=True).items():
        limit = told_limit(name, most)
        verdict = ""
        if name == "max_latency_ms":
            limit = latency(most)
            # the demo, unlike `deploy`, goes on where it is broken
            kept = {True: ", kept as deployed", False: ", NOT kept as deployed", None: ""}
            verdict = kept[deployment.limit_kept]
        elif name == "max_size_bytes":  # the search only estimates it
            is_kept = limited_bytes(Path(outcome.bundle)) <= most
            verdict = ", kept" if is_kept else ", NOT kept"
        rows.append(("limit", f"{limit}{verdict}"))
    return [*rows, ("bundle", outcome.bundle), ("page", outcome.page)]


def _delivered(outcome: "WalkSummary") -> "Candidate":
    found = outcome.search
    tried = (found.winner, *found.finalists, *found.front)
    return next(x for x in tried if x.arch == outcome.arch)


def metric_values(metrics: "dict[str, float]") -> str:
    """Spell the values without their names."""
    return ", ".join(score(value) for value in metrics.values())


def _milliseconds(value_ms: float | None) -> str:
    return "not timed" if value_ms is None else milliseconds(value_ms)
