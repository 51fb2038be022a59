"""Charts of the page, as Altair charts: quality against cost, and predicted against measured."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from ..printable import plain
from .selection import Axis, Choice
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
    """Draw validation loss against a cost: the front, the finalists, the winner."""
    rows = _front_rows(choices, axis)
    x_title = f"{axis.title}, {axis.unit}"
    limits = [] if axis.limit is None else [axis.limit]
    x_domain = _domain([row["x"] for row in rows] + limits)
    x = alt.X("x:Q", title=x_title, scale=alt.Scale(domain=x_domain, nice=False))
    is_timed = any(choice.time_loss is not None for choice in choices)
    y_title = "validation loss" + (", with the time of training steps" if is_timed else "")
    y_scale = alt.Scale(domain=_domain([row["loss"] for row in rows]), nice=False)
    y = alt.Y("loss:Q", title=y_title, scale=y_scale)
    marks = alt.Chart(alt.NamedData(name="choices")).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("number:N", title="number of the front"),
        alt.Tooltip("kind:N", title="drawn as"),
        alt.Tooltip("x:Q", title=x_title, format=".4~g"),
        alt.Tooltip("loss:Q", title=y_title, format=".4f"),
        alt.Tooltip("arch:N", title="architecture"),
    ]
    asked = alt.Chart(alt.InlineData(values=[{}])).transform_calculate(x="limit")
    layers = [
        *_limit_of_search(axis, x, x_domain),
        asked.transform_filter("isValid(limit)").mark_rule(style="asked").encode(x=x),
    ]
    if _is_front(rows):
        front = marks.transform_filter(f"datum.kind == '{FRONT}'")
        layers.append(front.mark_line(strokeWidth=1.5, opacity=0.6))
    layers.append(
        _points(marks, rows, (FRONT, FINALIST, WINNER), columns=3).encode(tooltip=tooltip)
    )
    chosen = marks.transform_filter("datum.key == chosen")
    layers.append(chosen.mark_point(style="chosen", size=320, strokeWidth=2.5))
    return alt.LayerChart(
        layer=layers,
        params=[
            alt.VariableParameter("limit", value=None),
            alt.VariableParameter("chosen", value=""),
        ],
        datasets={"choices": rows},  # named data are copied once, not with every layer
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
    x_title = f"predicted, ms{note}"
    y_title = f"measured, ms{note}"
    band = alt.Chart(alt.InlineData(values=ends)).encode(x=alt.X("x:Q", title=x_title, scale=scale))
    under = alt.Y("under:Q", title=y_title, scale=scale)
    marks = alt.Chart(alt.NamedData(name="subnets")).encode(
        x=alt.X("predicted:Q", title=x_title, scale=scale),
        y=alt.Y("measured:Q", title=y_title, scale=scale),
        tooltip=[
            alt.Tooltip("key:N", title="subnet"),
            alt.Tooltip("predicted:Q", title="predicted, ms", format=".4~g"),
            alt.Tooltip("measured:Q", title="measured, ms", format=".4~g"),
            alt.Tooltip("error:Q", title="error", format="+.1%"),
        ],
    )
    layers = [
        band.mark_area(style="band", clip=True).encode(y=under, y2="over:Q"),
        band.mark_line(style="diagonal", clip=True).encode(y=alt.Y("x:Q", scale=scale)),
        _points(marks, rows, (FITTED, UNSEEN), columns=1),
    ]
    return alt.LayerChart(layer=layers, datasets={"subnets": rows}, height=HEIGHT)


def _front_rows(choices: Sequence[Choice], axis: Axis) -> list[dict[str, Any]]:
    """Make a row for each mark.

    A member of the front is drawn as predicted or counted, a finalist or the winner as measured.
    """
    rows = []
    for choice, drawn, measured in zip(choices, axis.drawn, axis.measured, strict=True):
        best = drawn if measured is None else measured
        marks = [] if choice.number is None else [(FRONT, drawn)]
        if choice.role == WINNER:
            marks.append((WINNER, best))
        elif measured is not None or choice.number is None:
            marks.append((FINALIST, best))
        for kind, value in marks:
            if value is None:
                continue
            row = {
                "kind": kind,
                "x": value,
                "loss": choice.loss,
                "key": choice.arch.key,
                "number": choice.number or "-",
                "arch": str(choice.arch),
            }
            rows.append(row)
    return rows


def _is_front(rows: Sequence[dict[str, Any]]) -> bool:
    """Tell whether members of the front that cost more are better on this axis too."""
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
    """Draw marks of a colour and a shape for each kind, and a legend of those that are there."""
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
    """Return the ends of an axis around all values; for positive ones not below zero."""
    low = min(values)
    high = max(values)
    margin = (high - low) * MARGIN or abs(high) * 0.1 or 1.0
    return [max(low - margin, 0.0) if low >= 0 else low - margin, high + margin]
