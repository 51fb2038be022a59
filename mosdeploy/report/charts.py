"""Scatter charts as inline SVG: axes with round ticks, series of marks, a limit line, a diagonal
with a band.

In: series of points. Out: one `<figure>`. Colours come from the page's style sheet by class, so
that a chart follows the page into dark mode; each series also has a shape of its own. This file
knows no record.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .markup import Markup, element

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 20, 52

STAR_RADII = (9, 4)
STAR = tuple(
    (
        STAR_RADII[i % 2] * math.cos(math.pi * (i / 5 - 0.5)),
        STAR_RADII[i % 2] * math.sin(math.pi * (i / 5 - 0.5)),
    )
    for i in range(10)
)
DIAMOND = ((0, -6.5), (6.5, 0), (0, 6.5), (-6.5, 0))


@dataclass(frozen=True)
class Mark:
    """One point in data units, and what a pointer that rests on it reads."""

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
        low, high = min(values), max(values)
        margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        return cls(low - margin if low < 0 or low - margin > 0 else 0.0, high + margin, start, end)

    def __call__(self, value: float) -> float:
        """Pixel of a value, to a tenth."""
        return round(
            self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1
        )

    @property
    def ticks(self) -> tuple[float, ...]:
        """At most eight round values (1, 2 or 5 times a power of ten apart) on the axis."""
        raw = (self.high - self.low) / 7
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
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
    """Draw series of marks, and a dashed line at a limit on the horizontal axis with its label."""
    marks = [mark for item in series for mark in item.marks]
    x = Scale.over([mark.x for mark in marks] + ([limit[0]] if limit else []), LEFT, WIDTH - RIGHT)
    y = Scale.over([mark.y for mark in marks], HEIGHT - BOTTOM, TOP)
    shapes = [_limit_line(x(limit[0]), limit[1])] if limit else []
    return _figure(axes, x, y, series, shapes)


def agreement_chart(axes: Axes, series: Sequence[Series], percent: float) -> Markup:
    """Draw measured (up) against predicted (across), the diagonal, and a band of +-`percent` around
    it.
    """
    marks = [mark for item in series for mark in item.marks]
    values = [mark.x for mark in marks] + [mark.y for mark in marks]
    x, y = Scale.over(values, LEFT, WIDTH - RIGHT), Scale.over(values, HEIGHT - BOTTOM, TOP)
    low, high, share = x.low, x.high, percent / 100  # the error is relative to the measured value
    edges = [
        (low, low / (1 + share)),
        (low, low / (1 - share)),
        (high, high / (1 - share)),
        (high, high / (1 + share)),
    ]
    band = element("polygon", points=" ".join(f"{x(a)},{y(b)}" for a, b in edges), class_="band")
    line = element("line", x1=x(low), y1=y(low), x2=x(high), y2=y(high), class_="diagonal")
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    frame = element(  # an inner svg cuts off what the band has outside the axes
        "svg",
        band,
        line,
        x=LEFT,
        y=TOP,
        width=width,
        height=height,
        viewBox=f"{LEFT} {TOP} {width} {height}",
    )
    return _figure(axes, x, y, series, [frame])


def swatch(series: Series) -> Markup:
    """Draw the mark of a series for a legend."""
    mark = _mark(series, 9, 9, None)
    return element(
        "svg", mark, viewBox="0 0 18 18", width=16, height=16, aria_hidden="true", class_="chart"
    )


def _figure(
    axes: Axes, x: Scale, y: Scale, series: Sequence[Series], below: Sequence[Markup]
) -> Markup:
    drawn = [item for item in series if item.marks]
    svg = element(
        "svg",
        element("title", axes.title),
        element("desc", axes.description),
        *_grid(axes, x, y),
        *below,
        *(_path(item, x, y) for item in drawn if item.joined),
        *(_mark(item, x(mark.x), y(mark.y), mark.label) for item in drawn for mark in item.marks),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{axes.title}. {axes.description}",
        class_="chart",
    )
    legend = element(
        "ul", *(element("li", swatch(item), item.name) for item in drawn), class_="legend"
    )
    return element("figure", legend, element("div", svg, class_="scroll"))


def _grid(axes: Axes, x: Scale, y: Scale) -> Iterable[Markup]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in x.ticks:
        yield element("line", x1=x(tick), y1=TOP, x2=x(tick), y2=bottom, class_="grid")
        yield element("text", f"{tick:g}", x=x(tick), y=bottom + 18, text_anchor="middle")
    for tick in y.ticks:
        yield element("line", x1=LEFT, y1=y(tick), x2=right, y2=y(tick), class_="grid")
        yield element("text", f"{tick:g}", x=LEFT - 8, y=y(tick) + 4, text_anchor="end")
    yield element("line", x1=LEFT, y1=bottom, x2=right, y2=bottom, class_="axis")
    yield element(
        "text",
        axes.x_name,
        x=(LEFT + right) / 2,
        y=HEIGHT - 10,
        text_anchor="middle",
        class_="name",
    )
    middle = (TOP + bottom) / 2
    place = f"translate(15 {middle:g}) rotate(-90)"
    yield element("text", axes.y_name, transform=place, text_anchor="middle", class_="name")


def _limit_line(pixel: float, label: str) -> Markup:
    left = pixel > WIDTH / 2
    text = element(
        "text",
        label,
        x=pixel + (-6 if left else 6),
        y=TOP + 12,
        text_anchor="end" if left else "start",
        class_="limit",
    )
    line = element("line", x1=pixel, y1=TOP, x2=pixel, y2=HEIGHT - BOTTOM, class_="limit")
    return element("g", line, text)


def _path(series: Series, x: Scale, y: Scale) -> Markup:
    points = " ".join(
        f"{x(mark.x)},{y(mark.y)}" for mark in sorted(series.marks, key=lambda mark: mark.x)
    )
    return element("polyline", points=points, class_=f"{series.style} joined")


def _mark(series: Series, x: float, y: float, label: str | None) -> Markup:
    title = element("title", label) if label else None
    if series.shape == "circle":
        return element("circle", title, cx=x, cy=y, r=4.5, class_=series.style)
    corners = STAR if series.shape == "star" else DIAMOND
    return element(
        "polygon",
        title,
        points=" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners),
        class_=series.style,
    )
