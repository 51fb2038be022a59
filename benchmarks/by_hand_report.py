"""What by_hand.py prints and draws: quality against core-hours, by way and number of limits."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import altair as alt
from provenance import Provenance
from walk_cells import Scores, markdown

from mosdeploy.record import Record

CHOICE_INCLUDED = "by hand, choice included"
BY_HAND = ("by hand", CHOICE_INCLUDED)
METRICS = ("test greedy BLEU", "test greedy chrF", "valid greedy BLEU")


class Cost(Record):
    """Time of a step of the supernet over one of an architecture alone."""

    ratio: float


class Seconds(Record):
    """CPU time."""

    seconds: float


class Cell(Record):
    """One training, and its CPU seconds."""

    way: str
    seed: int
    limit_ms: float
    num_limits: int
    steps: int
    seconds: float
    scores: Scores


class Row(Record):
    """One way at one limit, where K limits share a supernet: metrics, validation loss, and
    core-hours with its part of what is shared.
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


class Outcome(Provenance):
    """What by_hand-NAME.json holds."""

    rows: tuple[Row, ...]


def row_of(cell: Cell, threads: int) -> Row:
    """A finished cell."""
    return Row(
        way=cell.way,
        seed=cell.seed,
        limit_ms=cell.limit_ms,
        num_limits=cell.num_limits,
        arch_key=cell.scores.arch_key,
        num_parameters=cell.scores.num_parameters,
        steps=cell.steps,
        metrics=cell.scores.metrics,
        loss=cell.scores.loss,
        core_hours=cell.seconds * threads / 3600,
    )


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


def picture(outcome: Outcome) -> alt.LayerChart:
    """Mean test BLEU against core-hours a limit, one point for each way and K."""
    rows: list[dict[str, Any]] = [
        {
            "way": way,
            # by hand, nothing is shared
            "K": "" if way in BY_HAND else f"K = {k}",
            "hours": mean(row.core_hours for row in group),
            "bleu": mean(row.metrics[METRICS[0]] for row in group),
        }
        for (way, k), group in _groups(outcome).items()
    ]
    # with room for the texts beside the points
    most_hours = 1.15 * max(row["hours"] for row in rows)
    chart = alt.Chart(
        alt.InlineData(values=rows),
        title=f"Searched for, or picked by hand: {len(outcome.rows)} trainings on "
        f"{outcome.processor}; K limits share a supernet",
        width=640,
        height=360,
    )
    points = chart.mark_point(filled=True, size=80).encode(
        x=alt.X("hours:Q", title="core-hours a limit", scale=alt.Scale(domain=[0, most_hours])),
        y=alt.Y("bleu:Q", title="mean test BLEU"),
        color="way:N",
    )
    return points + points.mark_text(dx=10, align="left").encode(text="K:N")


def _groups(outcome: Outcome) -> dict[tuple[str, int], list[Row]]:
    groups = dict[tuple[str, int], list[Row]]()
    for row in outcome.rows:
        groups.setdefault((row.way, row.num_limits), []).append(row)
    return dict(sorted(groups.items()))


def _means(rows: Sequence[Row]) -> list[str]:
    metrics = [f"{mean(row.metrics[name] for row in rows):.1f}" for name in METRICS]
    loss = f"{mean(row.loss for row in rows):.3f}"
    return [*metrics, loss, f"{mean(row.core_hours for row in rows):.3f}"]
