"""The verbs `walk` and `demo`, and what was delivered."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ..printable import latency, likely, milliseconds, predicted, score
from ..run_folder.options import WalkOptions
from .options import HERE, Common, JsonOption
from .printing import PROGRESS, table

if TYPE_CHECKING:
    from ..records import Candidate
    from ..run_folder.summaries import DemoSummary, WalkSummary


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
        (predicted(outcome.search.level), milliseconds(found.predicted_ms)),
        ("measured", milliseconds(found.measured_ms)),
        ("bundle measured", milliseconds(deployed_ms)),
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


def demo(
    directory: Annotated[Path, typer.Option("--dir", "-C", help="Folder to walk in.")] = HERE
    / "demo",
    recipe: Annotated[
        str,
        typer.Option(help="tiny: a translator; minilm-l6: a classifier (extra demo-encoder)."),
    ] = "tiny",
    as_json: JsonOption = False,
) -> None:
    """Walk the whole way on this machine with embedded data."""
    from ..pipeline.demo import LIMIT_SHARES
    from ..pipeline.demo import demo as walk

    if recipe not in LIMIT_SHARES:
        known = ", ".join(LIMIT_SHARES)
        raise ConfigError(f"unknown demo '{recipe}'; {likely(recipe, LIMIT_SHARES)}known: {known}")
    outcome = walk(directory, recipe, PROGRESS)
    common = Common(directory, as_json)
    rows = [*winner_rows(outcome), *_comparison(outcome), *bundle_rows(outcome)]
    common.show(outcome, table(("what", "value"), rows))


def _comparison(outcome: "DemoSummary") -> list[tuple[str, str]]:
    """Make the rows about the teacher and the network that was designed by hand."""
    rival = outcome.hand_designed
    if rival is None:
        return []
    measured_ms = outcome.search.winner.measured_ms or float("nan")
    teacher = outcome.scores.subnets["teacher"]
    scores = outcome.scores.subnets.values()
    picked = next(x for x in scores if (x.arch, x.weights) == (rival.arch, "from-teacher"))
    return [
        (
            "teacher",
            f"{metric_values(teacher.metrics)}; {milliseconds(rival.teacher_fp32_ms)} in fp32",
        ),
        (
            "designed by hand",
            f"{metric_values(picked.metrics)}; {milliseconds(rival.measured_ms)}: {rival.arch}",
        ),
        (
            "times as fast",
            f"{rival.teacher_fp32_ms / measured_ms:.1f} as the teacher in fp32, "
            f"{rival.teacher_ms / measured_ms:.1f} at the winner's precision",
        ),
    ]
