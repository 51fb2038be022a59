"""The verb `walk`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..printable import latency, milliseconds, predicted, score
from .options import NO_LIMITS, DeviceCommon, LimitOptions, ProfiledDeviceOption
from .printing import table

if TYPE_CHECKING:
    from ..records import Candidate
    from ..run_folder.summaries import WalkSummary


def walk(
    common: DeviceCommon, device: ProfiledDeviceOption = None, limits: LimitOptions = NO_LIMITS
) -> None:
    """Run all that come after init, to a deployed bundle. A second call resumes."""
    from ..pipeline.walk import WalkOptions
    from ..pipeline.walk import walk as go

    context = common.context()
    outcome = go(context, WalkOptions(device, limits.limits(context.config.search)))
    rows = [*winner_rows(outcome), *bundle_rows(outcome)]
    common.show(outcome, table(("what", "value"), rows), "mosdeploy predict < FILE")


def winner_rows(outcome: "WalkSummary") -> list[tuple[str, str]]:
    """Rows about the network that was delivered."""
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
    """Rows about its latency, and where it lies."""
    from ..config.units import told_limit

    found = _delivered(outcome)
    deployment = outcome.deployment
    limits = outcome.search.limits.model_dump(exclude_none=True)
    limit_ms = limits.pop("max_latency_ms", None)
    return [
        (predicted(outcome.search.level), _milliseconds(found.predicted_ms)),
        ("measured", _milliseconds(found.measured_ms)),
        ("bundle measured", _milliseconds(deployment.measurement.figure_ms(deployment.statistic))),
        *([("limit", f"{latency(limit_ms)}{_kept(outcome)}")] if limit_ms else []),
        *(
            ("limit", told_limit(name, most) + _size_kept(outcome, name, most))
            for name, most in limits.items()
        ),
        ("bundle", outcome.bundle),
        ("page", outcome.page),
    ]


def _delivered(outcome: "WalkSummary") -> "Candidate":
    found = outcome.search
    tried = (found.winner, *found.finalists, *found.front)
    return next(x for x in tried if x.arch == outcome.arch)


def metric_values(metrics: "dict[str, float]") -> str:
    """Values without their names."""
    return ", ".join(score(value) for value in metrics.values())


def _milliseconds(value_ms: float | None) -> str:
    return "not timed" if value_ms is None else milliseconds(value_ms)


def _size_kept(outcome: "WalkSummary", limit: str, most: float) -> str:
    """Whether the files keep a limit on their size, which the search only estimates."""
    from ..run_folder.bundles import limited_bytes

    if limit != "max_size_bytes":
        return ""
    return ", kept" if limited_bytes(Path(outcome.bundle)) <= most else ", NOT kept"


def _kept(outcome: "WalkSummary") -> str:
    """Whether the bundle keeps the limit; the demo, unlike `deploy`, goes on where it does not."""
    said = {True: ", kept as deployed", False: ", NOT kept as deployed", None: ""}
    return said[outcome.deployment.limit_kept]
