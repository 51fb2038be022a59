"""The verb `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ..printable import likely, milliseconds
from .options import HERE, Common, JsonOption
from .printing import table
from .progress import PROGRESS
from .walk import bundle_rows, metric_values, winner_rows

if TYPE_CHECKING:
    from ..run_folder.summaries import DemoSummary


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
