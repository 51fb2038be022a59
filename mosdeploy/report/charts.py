"""Scatter charts as inline SVG: axes with round ticks, series of marks, a limit line, a diagonal
with a band.

In: series of points. Out: one `<figure>`. Colours come from the page's style sheet by class, so
that a chart follows the page into dark mode; each series also has a shape of its own. This file
knows no record.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 640
HEIGHT = 380
LEFT = 64
RIGHT = WIDTH - 16
TOP = 20
BOTTOM = HEIGHT - 52

STAR_RADII = (9, 4)
STAR = tuple(
    (
        STAR_RADII[i % 2] * math.cos(math.pi * (i / 5 - 0.5)),
        STAR_RADII[i % 2] * math.sin(math.pi * (i / 5 - 0.5)),
    )
    for i in range(10)
)
DIAMOND = ((0, -6.5), (6.5, 0), (0, 6.5), (-6.5, 0))

# `Markup.format` escapes whatever is filled in
_FIGURE = Markup(
    '<figure><ul class="legend">{legend}</ul><div class="scroll">'
    '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}. {description}" '
    'class="chart">'
    "<title>{title}</title><desc>{description}</desc>{shapes}</svg></div></figure>\n"
)
_LEGEND = Markup(
    '<li><svg viewBox="0 0 18 18" width="16" height="16" aria-hidden="true" class="chart">{}</svg>'
    "{}</li>"
)
_LINE = Markup('<line x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}" class="{}"/>')
_TEXT = Markup('<text x="{:g}" y="{:g}" text-anchor="{}" class="{}">{}</text>')
_TURNED_TEXT = Markup(
    '<text transform="translate({:g} {:g}) rotate(-90)" text-anchor="middle" class="{}">{}</text>'
)
_TITLE = Markup("<title>{}</title>")
_CIRCLE = Markup('<circle cx="{:g}" cy="{:g}" r="4.5" class="{}">{}</circle>')
_POLYGON = Markup('<polygon points="{}" class="{}">{}</polygon>')
_POLYLINE = Markup('<polyline points="{}" class="{} joined"/>')
_FRAME = Markup(
    '<svg x="{left}" y="{top}" width="{width}" height="{height}" '
    'viewBox="{left} {top} {width} {height}">{shapes}</svg>'
)


@dataclass(frozen=True)
class Mark:
    """One point in data units, and the label that a pointer over it shows."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Series:
    """Points of one kind; `style` is a class of the style sheet, `shape` one of circle, diamond and
    star.
    """

    name: str
    style: str
    shape: str
    marks: tuple[Mark, ...]
    joined: bool = False


@dataclass(frozen=True)
class Scale:
    """A linear axis: data from `low` to `high` fall on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> "Scale":
        """Cover all values with a margin of 6% on each side; a single value gets room around it."""
        low = min(values)
        high = max(values)
        margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        # an axis of values that are not negative does not reach below zero
        return cls(low - margin if low < 0 or low - margin > 0 else 0.0, high + margin, start, end)

    def __call__(self, value: float) -> float:
        """Pixel of a value, to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> tuple[float, ...]:
        """At most eight round values (1, 2 or 5 times a power of ten apart) on the axis."""
        raw = (self.high - self.low) / 7
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
        first = math.ceil(self.low / step)
        last = math.floor(self.high / step)
        return tuple(round(i * step, 12) for i in range(first, last + 1))


@dataclass(frozen=True)
class Axes:
    """What a chart says in words: title and description for readers who cannot see it, and the
    axes' names.
    """

    title: str
    description: str
    x_name: str
    y_name: str


def front_chart(
    axes: Axes, series: Sequence[Series], limit: tuple[float, str] | None = None
) -> Markup:
    """Draw series of marks, and a dashed line at a limit on the horizontal axis with its label.

    Examples
    --------
    >>> front = Series("Front", "front", "circle", (Mark(10.0, 2.5, "a"), Mark(20.0, 2.2, "b")))
    >>> figure = front_chart(Axes("Loss", "Two subnets.", "ms", "loss"), [front], (15.0, "limit"))
    >>> figure.count("<circle")  # two marks, one in the legend
    3
    """
    marks = [mark for item in series for mark in item.marks]
    x = Scale.over([mark.x for mark in marks] + ([limit[0]] if limit else []), LEFT, RIGHT)
    y = Scale.over([mark.y for mark in marks], BOTTOM, TOP)
    shapes = _limit_line(x(limit[0]), limit[1]) if limit else Markup("")
    return _figure(axes, x, y, series, shapes)


def agreement_chart(axes: Axes, series: Sequence[Series], percent: float) -> Markup:
    """Draw measured (up) against predicted (across), the diagonal, and a band of +-`percent` around
    it.
    """
    marks = [mark for item in series for mark in item.marks]
    values = [mark.x for mark in marks] + [mark.y for mark in marks]
    x = Scale.over(values, LEFT, RIGHT)
    y = Scale.over(values, BOTTOM, TOP)
    low = x.low
    high = x.high
    share = percent / 100  # the error is relative to the measured value
    corners = (
        (low, low / (1 + share)),
        (low, low / (1 - share)),
        (high, high / (1 - share)),
        (high, high / (1 + share)),
    )
    points = " ".join(f"{x(a)},{y(b)}" for a, b in corners)
    band = _POLYGON.format(points, "band", "")
    diagonal = _LINE.format(x(low), y(low), x(high), y(high), "diagonal")
    frame = _FRAME.format(  # an inner svg cuts off what the band has outside the axes
        left=LEFT, top=TOP, width=RIGHT - LEFT, height=BOTTOM - TOP, shapes=band + diagonal
    )
    return _figure(axes, x, y, series, frame)


def _figure(axes: Axes, x: Scale, y: Scale, series: Sequence[Series], below: Markup) -> Markup:
    drawn = [item for item in series if item.marks]
    lines = [_path(item, x, y) for item in drawn if item.joined]
    marks = [
        _mark(item, x(mark.x), y(mark.y), _TITLE.format(mark.label))
        for item in drawn
        for mark in item.marks
    ]
    return _FIGURE.format(
        legend=Markup("").join(_LEGEND.format(_mark(item, 9, 9, ""), item.name) for item in drawn),
        width=WIDTH,
        height=HEIGHT,
        title=axes.title,
        description=axes.description,
        shapes=Markup("\n").join([*_grid(axes, x, y), below, *lines, *marks]),
    )


def _grid(axes: Axes, x: Scale, y: Scale) -> Iterator[Markup]:
    for tick in x.ticks:
        yield _LINE.format(x(tick), TOP, x(tick), BOTTOM, "grid")
        yield _TEXT.format(x(tick), BOTTOM + 18, "middle", "tick", f"{tick:g}")
    for tick in y.ticks:
        yield _LINE.format(LEFT, y(tick), RIGHT, y(tick), "grid")
        yield _TEXT.format(LEFT - 8, y(tick) + 4, "end", "tick", f"{tick:g}")
    yield _LINE.format(LEFT, BOTTOM, RIGHT, BOTTOM, "axis")
    yield _TEXT.format((LEFT + RIGHT) / 2, HEIGHT - 10, "middle", "name", axes.x_name)
    yield _TURNED_TEXT.format(15, (TOP + BOTTOM) / 2, "name", axes.y_name)


def _limit_line(pixel: float, label: str) -> Markup:
    line = _LINE.format(pixel, TOP, pixel, BOTTOM, "limit")
    # the label stands on the side that has room for it
    if pixel > WIDTH / 2:
        return line + _TEXT.format(pixel - 6, TOP + 12, "end", "limit", label)
    return line + _TEXT.format(pixel + 6, TOP + 12, "start", "limit", label)


def _path(series: Series, x: Scale, y: Scale) -> Markup:
    marks = sorted(series.marks, key=lambda mark: mark.x)
    return _POLYLINE.format(" ".join(f"{x(mark.x)},{y(mark.y)}" for mark in marks), series.style)


def _mark(series: Series, x: float, y: float, title: str) -> Markup:
    if series.shape == "circle":
        return _CIRCLE.format(x, y, series.style, title)
    corners = STAR if series.shape == "star" else DIAMOND
    points = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners)
    return _POLYGON.format(points, series.style, title)
