"""The verb `demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import HERE, Common, JsonOption
from .printing import table
from .progress import PROGRESS

if TYPE_CHECKING:
    from ..pipeline.summaries import DemoSummary


def demo(
    directory: Annotated[Path, typer.Option("--dir", "-C", help="Folder to walk in.")] = HERE
    / "demo",
    as_json: JsonOption = False,
) -> None:
    """Walk the whole way on this machine with the embedded English-French corpus."""
    from ..pipeline.demo import demo as walk

    outcome = walk(directory, PROGRESS)
    common = Common(directory, as_json)
    common.show(outcome, table(("what", "value"), _rows(outcome)))


def _rows(outcome: "DemoSummary") -> list[tuple[str, str]]:
    winner = outcome.search.winner
    total = outcome.deployment.measurement.total
    scores = outcome.scores.subnets
    names = {
        "winner, finetuned": ", ".join(scores["winner"].metrics),
        "winner": "  before it was finetuned",
    }
    return [
        ("winner", f"{winner.arch.key}  {winner.arch}"),
        ("parameters", f"{winner.num_parameters:,}"),
        *(
            (label, ", ".join(f"{value:.1f}" for value in scores[name].metrics.values()))
            for name, label in names.items()
        ),
        ("predicted", f"{winner.predicted_ms:.2f} ms"),
        ("measured", f"{winner.measured_ms:.2f} ms"),
        ("bundle measured", f"{total.median_ms:.2f} ms" if total else "not timed"),
        ("limit", f"{outcome.search.limits.max_latency_ms:g} ms"),
        ("bundle", outcome.bundle),
        ("page", outcome.page),
    ]
