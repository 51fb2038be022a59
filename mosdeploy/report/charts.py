"""Charts of the page, as Altair charts: quality against cost, and predicted against measured."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from ..printable import plain
from .choices import Axis, Choice
from .summary import Agreement

BAND_PERCENT = 5.0
"""Half the width of the band around the diagonal of predicted against measured."""

FRONT = "front"
FINALIST = "finalist"
WINNER = "winner"
FITTED = "profiled, in the fit"
UNSEEN = "finalists, not in the fit"

STAR = "M0,-1.6L.38,-.5L1.52,-.5L.61,.19L.94,1.3L0,.64L-.94,1.3L-.61,.19L-1.52,-.5L-.38,-.5Z"
SHAPES = {FRONT: "circle", FINALIST: "diamond", WINNER: STAR, FITTED: "circle", UNSEEN: "diamond"}
HEIGHT = 320
LEGEND_OFFSET = 24
"""Room above the plot, where the label of a limit stands."""
MARGIN = 0.06
"""Room on each side of an axis, as a share of its values."""


def front_chart(choices: Sequence[Choice], axis: Axis) -> alt.LayerChart:
    """Draw validation loss against what an axis counts: the front, the finalists, the winner."""
    rows = _front_rows(choices, axis)
    x_title = f"{axis.title}, {axis.unit}"
    x_domain = _domain([row["x"] for row in rows] + ([axis.limit] if axis.limit else []))
    x = alt.X("x:Q", title=x_title, scale=alt.Scale(domain=x_domain, nice=False))
    loss_domain = _domain([row["loss"] for row in rows])
    is_timed = any(choice.time_loss is not None for choice in choices)
    y_title = "validation loss" + (", with the time of training steps" if is_timed else "")
    loss = alt.Y("loss:Q", title=y_title, scale=alt.Scale(domain=loss_domain, nice=False))
    marks = alt.Chart(alt.NamedData(name="choices")).encode(x=x, y=loss)
    line = marks.transform_filter(f"datum.kind == '{FRONT}'") if _is_front(rows) else None
    asked = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(x="limit")
    layers = [
        *_limit_of_search(axis, x, x_domain),
        asked.transform_filter("isValid(limit)").mark_rule(style="asked").encode(x=x),
        *([line.mark_line(strokeWidth=1.5, opacity=0.6)] if line else []),
        _points(marks, rows, (FRONT, FINALIST, WINNER), columns=3).encode(
            tooltip=[
                alt.Tooltip("number:N", title="number of the front"),
                alt.Tooltip("kind:N", title="drawn as"),
                alt.Tooltip("x:Q", title=x_title, format=".4~g"),
                alt.Tooltip("loss:Q", title=y_title, format=".4f"),
                alt.Tooltip("arch:N", title="architecture"),
            ]
        ),
        marks.transform_filter("datum.key == chosen").mark_point(
            style="chosen", size=320, strokeWidth=2.5
        ),
    ]
    # named data are copied once, not with every layer
    return alt.LayerChart(
        layer=layers,
        params=[
            alt.VariableParameter("limit", value=None),
            alt.VariableParameter("chosen", value=""),
        ],
        datasets={"choices": rows},
        height=HEIGHT,
    )


def agreement_chart(points: Sequence[Agreement], note: str = "") -> alt.LayerChart:
    """Draw measured (up) against predicted latency, the diagonal, and a band around it."""
    rows = [
        {
            "kind": FITTED if point.fitted else UNSEEN,
            "key": point.key,
            "predicted": point.predicted_ms,
            "measured": point.measured_ms,
            "error": point.predicted_ms / point.measured_ms - 1,
        }
        for point in points
    ]
    domain = _domain([x for point in points for x in (point.predicted_ms, point.measured_ms)])
    share = BAND_PERCENT / 100  # the error is relative to the measured value
    ends = [{"x": x, "under": x / (1 + share), "over": x / (1 - share)} for x in domain]
    scale = alt.Scale(domain=domain, nice=False)
    x = alt.X("x:Q", title=f"predicted, ms{note}", scale=scale)
    band = alt.Chart(alt.InlineData(values=ends)).encode(x=x)
    marks = alt.Chart(alt.NamedData(name="subnets")).encode(
        x=alt.X("predicted:Q", title=f"predicted, ms{note}", scale=scale),
        y=alt.Y("measured:Q", title=f"measured, ms{note}", scale=scale),
        tooltip=[
            alt.Tooltip("key:N", title="subnet"),
            alt.Tooltip("predicted:Q", title="predicted, ms", format=".4~g"),
            alt.Tooltip("measured:Q", title="measured, ms", format=".4~g"),
            alt.Tooltip("error:Q", title="error", format="+.1%"),
        ],
    )
    layers = [
        band.mark_area(style="band", clip=True).encode(
            y=alt.Y("under:Q", title=f"measured, ms{note}", scale=scale), y2="over:Q"
        ),
        band.mark_line(style="diagonal", clip=True).encode(y=alt.Y("x:Q", scale=scale)),
        _points(marks, rows, (FITTED, UNSEEN), columns=1),
    ]
    return alt.LayerChart(layer=layers, datasets={"subnets": rows}, height=HEIGHT)


def _front_rows(choices: Sequence[Choice], axis: Axis) -> list[dict[str, Any]]:
    """A row for each mark: a choice has one as a member of the front, as predicted or counted, and
    one as a finalist or the winner, as measured.
    """
    rows = []
    for i, choice in enumerate(choices):
        drawn = axis.drawn[i]
        measured = axis.measured[i]
        best = drawn if measured is None else measured
        marks = [] if choice.number is None else [(FRONT, drawn)]
        if choice.role == WINNER:
            marks.append((WINNER, best))
        elif measured is not None or choice.number is None:
            marks.append((FINALIST, best))
        rows += [
            {
                "kind": kind,
                "x": value,
                "loss": choice.loss,
                "key": choice.arch.key,
                "number": choice.number or "-",
                "arch": str(choice.arch),
            }
            for kind, value in marks
            if value is not None
        ]
    return rows


def _is_front(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the members of the front are one on this axis too: who costs more is better."""
    members = sorted((row["x"], -row["loss"]) for row in rows if row["kind"] == FRONT)
    gains = [gain for _, gain in members]
    return gains == sorted(gains)


def _limit_of_search(axis: Axis, x: alt.X, domain: Sequence[float]) -> list[alt.Chart]:
    if axis.limit is None:
        return []
    # the label reaches into the side that has room for it
    is_left = axis.limit < sum(domain) / 2
    text = f"limit {plain(axis.limit)} {axis.unit}"
    limit = alt.Chart(alt.InlineData(values=[{"x": axis.limit, "text": text}])).encode(x=x)
    return [
        limit.mark_rule(style="limit", strokeDash=[5, 4]),
        limit.mark_text(
            style="limit-text",
            align="left" if is_left else "right",
            dx=-2 if is_left else 2,
            # above the plot: the line that the reader moves would cross it
            dy=-7,
        ).encode(text="text:N", y=alt.value(0)),
    ]


def _points(
    marks: alt.Chart, rows: Sequence[dict[str, Any]], kinds: tuple[str, ...], columns: int
) -> alt.Chart:
    """Marks of a colour and a shape for each kind; the legend names those that are there."""
    present = [kind for kind in kinds if any(row["kind"] == kind for row in rows)]
    legend = alt.Legend(
        orient="top",
        title=None,
        values=present,
        labelLimit=0,
        columns=columns,
        offset=LEGEND_OFFSET,
    )
    points: alt.Chart = marks.mark_point(filled=True, size=70, opacity=1).encode(
        color=alt.Color("kind:N", scale=alt.Scale(domain=kinds), legend=legend),
        shape=alt.Shape(
            "kind:N",
            scale=alt.Scale(domain=kinds, range=[SHAPES[kind] for kind in kinds]),
            legend=legend,
        ),
    )
    return points


def _domain(values: Sequence[float]) -> list[float]:
    """Ends of an axis that has all values, with a margin; of positive ones not below zero."""
    low = min(values)
    high = max(values)
    margin = (high - low) * MARGIN or abs(high) * 0.1 or 1.0
    return [max(low - margin, 0.0) if low >= 0 else low - margin, high + margin]
