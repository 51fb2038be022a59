"""What by_hand.py prints and draws: quality against core-hours, by way and number of limits."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from walk_cells import Scores, markdown

from mosdeploy import report
from mosdeploy.record import Record
from mosdeploy.report.charts import Axes, Mark, Series, front_chart

METRICS = ("test greedy BLEU", "test greedy chrF", "valid greedy BLEU")
STYLES = (
    ("by hand", "front", "circle"),
    ("ours", "measured", "diamond"),
    ("ours, taught", "winner", "star"),
)


class Cell(Record):
    """One training; `seconds` are its own, on a machine that may not have been quiet."""

    way: str
    seed: int
    limit_ms: float
    num_limits: int
    steps: int
    seconds: float
    scores: Scores


class Shared(Record):
    """What all limits of a seed share: seconds of the supernet, and of the teacher with what it
    translates; 0 without one.
    """

    supernet_s: float
    teacher_s: float


class Row(Record):
    """One way at one limit, where K limits share what can be shared: metrics, validation loss, and
    core-hours of its own part.
    """

    way: str
    seed: int
    limit_ms: float
    num_limits: int
    arch_key: str
    num_parameters: int
    steps: int
    metrics: dict[str, float]
    loss: float
    core_hours: float


class Outcome(Record):
    """What by_hand-NAME.json holds."""

    command: str
    versions: dict[str, str]
    processor: str
    rows: tuple[Row, ...]


def rows_of(cells: Iterable[Cell], shared: Shared, ks: Sequence[int], threads: int) -> list[Row]:
    """Cells with their part of what is shared: ours and HAT's way are the same training for each
    K, and cost less the more limits there are.
    """
    rows = []
    for cell in cells:
        for num_limits in [cell.num_limits] if cell.way == "by hand" else ks:
            shared_s = 0.0 if cell.way == "by hand" else shared.supernet_s
            shared_s += shared.teacher_s if cell.way == "ours, taught" else 0.0
            rows.append(
                Row(
                    way=cell.way,
                    seed=cell.seed,
                    limit_ms=cell.limit_ms,
                    num_limits=num_limits,
                    arch_key=cell.scores.arch_key,
                    num_parameters=cell.scores.num_parameters,
                    steps=cell.steps,
                    metrics=cell.scores.metrics,
                    loss=cell.scores.loss,
                    core_hours=(cell.seconds + shared_s / num_limits) * threads / 3600,
                )
            )
    return rows


def table(outcome: Outcome) -> str:
    """Markdown: means over limits and seeds, then each limit at the lowest K."""
    header = ["way", "K", "cells", *METRICS, "validation loss", "core-hours"]
    groups = _groups(outcome)
    lines = [[way, k, len(rows), *_means(rows)] for (way, k), rows in groups.items()]
    least = min(row.num_limits for row in outcome.rows)
    details = [
        [f"{row.limit_ms:.2f} ms", row.way, row.seed, f"{row.num_parameters:,}", *_means([row])]
        for row in sorted(outcome.rows, key=lambda row: (row.limit_ms, row.way, row.seed))
        if row.num_limits == least
    ]
    detailed = ["limit", "way", "seed", "parameters", *METRICS, "validation loss", "core-hours"]
    return f"{markdown(header, lines)}\n\nK = {least}:\n\n{markdown(detailed, details)}"


def page(outcome: Outcome) -> str:
    """One HTML page: mean test BLEU against core-hours a limit, one line a way."""
    groups = _groups(outcome)
    series = []
    for way, style, shape in STYLES:
        marks = []
        for (name, k), rows in groups.items():
            if name == way:
                bleu = mean(row.metrics[METRICS[0]] for row in rows)
                hours = mean(row.core_hours for row in rows)
                marks.append(Mark(hours, bleu, f"K = {k}: {bleu:.1f} BLEU, {hours:.2f} h"))
        if marks:
            marks.sort(key=lambda mark: mark.x)
            series.append(Series(way, style, shape, tuple(marks), joined=True))
    axes = Axes(
        "Quality against compute",
        "Mean test BLEU over core-hours a limit, where K limits share a supernet",
        "core-hours a limit",
        "test BLEU",
    )
    style = (Path(report.__file__).parent / "style.css").read_text()
    head = f"<!doctype html><meta charset=utf-8><title>By hand</title><style>{style}</style>"
    words = f"{len(outcome.rows)} trainings on {outcome.processor}."
    figure = front_chart(axes, series)
    return f"{head}<main><h1>Searched for, or picked by hand</h1><p>{words}</p>{figure}</main>"


def _groups(outcome: Outcome) -> dict[tuple[str, int], list[Row]]:
    groups = dict[tuple[str, int], list[Row]]()
    for row in outcome.rows:
        groups.setdefault((row.way, row.num_limits), []).append(row)
    return dict(sorted(groups.items()))


def _means(rows: Sequence[Row]) -> list[str]:
    metrics = [f"{mean(row.metrics[name] for row in rows):.1f}" for name in METRICS]
    loss = f"{mean(row.loss for row in rows):.3f}"
    return [*metrics, loss, f"{mean(row.core_hours for row in rows):.3f}"]
