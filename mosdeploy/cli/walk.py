"""The verb `walk`."""

from typing import TYPE_CHECKING

from ..printable import latency
from .options import NO_LIMITS, DeviceCommon, DeviceOption, LimitOptions
from .printing import table

if TYPE_CHECKING:
    from ..pipeline.summaries import WalkSummary


def walk(
    common: DeviceCommon, device: DeviceOption = None, limits: LimitOptions = NO_LIMITS
) -> None:
    """Run all that come after init, to a deployed bundle and its report. A second call resumes."""
    from ..pipeline.walk import WalkOptions
    from ..pipeline.walk import walk as go

    context = common.context()
    outcome = go(context, WalkOptions(device, limits.limits(context.config.search)))
    rows = [*winner_rows(outcome), *bundle_rows(outcome)]
    common.show(outcome, table(("what", "value"), rows), "mosdeploy predict < FILE")


def winner_rows(outcome: "WalkSummary") -> list[tuple[str, str]]:
    """Rows about the network that was found."""
    winner = outcome.search.winner
    rows = [
        ("winner", f"{winner.arch.key}  {winner.arch}"),
        ("parameters", f"{winner.num_parameters:,}"),
    ]
    if outcome.scores is None:
        return rows
    scores = outcome.scores.subnets
    trained = [name for name in ("winner, finetuned", "winner, from-teacher") if name in scores]
    best = min(trained, key=lambda name: scores[name].loss)
    names = {best: ", ".join(scores["winner"].metrics), "winner": "  before it was finetuned"}
    return [*rows, *((label, metric_values(scores[x].metrics)) for x, label in names.items())]


def bundle_rows(outcome: "WalkSummary") -> list[tuple[str, str]]:
    """Rows about its latency, and where it lies."""
    winner = outcome.search.winner
    deployment = outcome.deployment
    limit = latency(outcome.search.limits.max_latency_ms)
    return [
        ("predicted", _milliseconds(winner.predicted_ms)),
        ("measured", _milliseconds(winner.measured_ms)),
        ("bundle measured", _milliseconds(deployment.measurement.figure_ms(deployment.statistic))),
        ("limit", f"{limit}{_kept(outcome)}"),
        ("bundle", outcome.bundle),
        ("page", outcome.page),
    ]


def metric_values(metrics: "dict[str, float]") -> str:
    """Values without their names."""
    return ", ".join(f"{value:.1f}" for value in metrics.values())


def _milliseconds(value_ms: float | None) -> str:
    return "not timed" if value_ms is None else f"{value_ms:.2f} ms"


def _kept(outcome: "WalkSummary") -> str:
    """Whether the bundle keeps the limit; the demo, unlike `deploy`, goes on where it does not."""
    said = {True: ", kept as deployed", False: ", NOT kept as deployed", None: ""}
    return said[outcome.deployment.limit_kept]
