"""What a page is made of: cells of tables, a family's words, architectures drawn as boxes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from .. import printable

NBSP = "\N{NO-BREAK SPACE}"

Cell = str | int | Markup
"""Text is escaped by the template; `Markup` is HTML already."""

Facts = tuple[tuple[str, Cell | None], ...]
"""Names and values; a value of None is not shown."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    is_stacked: bool = False


def milliseconds(value_ms: float | None) -> str:
    """Spell a time with three significant digits; a dash for None."""
    return printable.milliseconds(value_ms).replace(" ", NBSP)


def estimate(value_ms: float | None, error_percent: float | None) -> str:
    """Spell a predicted time with its predictor's error, where that is known: 1.62 ms ± 25%."""
    if value_ms is None or error_percent is None:
        return milliseconds(value_ms)
    decimals = 0 if error_percent >= 1 else 1
    return f"{milliseconds(value_ms)} ±{NBSP}{error_percent:.{decimals}f}%"


def byte_size(num_bytes: int | None) -> str:
    """Spell a size in KiB, MiB or GiB; a dash for None."""
    return "-" if num_bytes is None else printable.byte_size(num_bytes).replace(" ", NBSP)


def counted(number: int, what: str) -> str:
    """Spell a number of things: 1 layer, 2 layers."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def device_name(device: str) -> str:
    """Name a device in a sentence; that of the profile `local` is this machine."""
    return "this machine" if device == "local" else device


def moment(text: str) -> str:
    """Spell a time of a record: 2025-03-01 12:30 UTC; other text stays as it is."""
    try:
        time = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return Markup("<time>{:%Y-%m-%d %H:%M} UTC</time>").format(time)


def code(text: str) -> Markup:
    """Set a key or a fingerprint in a fixed-width font."""
    return Markup("<code>{}</code>").format(text)


def noted(value: str, note: str) -> Markup:
    """Put a note in small letters behind a figure."""
    return Markup("{}<small>{}</small>").format(value, note)


def wide(text: str) -> Markup:
    """Keep a long text, such as an architecture, from being broken into a narrow column."""
    return Markup('<span class="wide">{}</span>').format(text)


def good(text: str) -> Markup:
    """Mark a cell as passed."""
    return Markup('<span class="good">{}</span>').format(text)


def bad(text: str) -> Markup:
    """Mark a cell as failed."""
    return Markup('<span class="bad">{}</span>').format(text)


def limit_verdict(limit: str, kept: bool | None) -> Markup:
    """Spell a limit and whether it is kept; None where that cannot be told."""
    if kept is None:
        return escape(limit)
    return Markup("{} {}").format(limit, good("kept") if kept else bad("broken"))


# two stacks fill a narrow telephone, at the size of the page's other words
BOX_WIDTH = 132
BOX_HEIGHT = 44
GAP = 12
BETWEEN = 40
MARGIN = 8
HEAD = 34

# `Markup.format` escapes whatever is filled in
_FIGURE = Markup(
    '<figure><svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}" '
    'class="chart drawing">{shapes}</svg></figure>\n'
)
_HEAD = Markup('<text x="{:g}" y="20" text-anchor="middle" class="name">{}</text>')
_BOX = Markup(
    '<g><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" class="box"/>'
    '<rect x="{x}" y="{y}" width="{filled:g}" height="{height}" rx="5" class="fill {style}"/>'
    '<text y="{y}" class="layer"><tspan x="{text_x}" dy="18">{text[0]}</tspan> '
    '<tspan x="{text_x}" dy="17">{text[1]}</tspan></text></g>'
)


@dataclass(frozen=True)
class FamilyPage:
    """What the page says in a family's own words.

    Attributes
    ----------
    workload
        The workload in a phrase: `batch 1, threads 1, fp32`.
    task
        Verb phrase for one run: "On the device, the winner ... in 12 ms".
    metric_title
        Heading of the scores.
    draw, drawing_note
        Makes one `<figure>` of an architecture; explains it.
    layer_header, layer_rows
        The same as a table, whose first column names the layers.
    bundle_facts
        Names and values of the bundle's settings; empty without a bundle.
    example_header
        Names of the input and the output of the bundle's self-test.
    """

    workload: str
    task: str
    metric_title: str
    draw: Callable[[Any], Markup]
    drawing_note: str
    layer_header: tuple[str, ...]
    layer_rows: Callable[[Any], tuple[tuple[str | int, ...], ...]]
    bundle_facts: tuple[tuple[str, str], ...]
    example_header: tuple[str, str]


@dataclass(frozen=True)
class Stack:
    """One stack of layers."""

    title: str
    shares: Sequence[float]
    texts: Sequence[tuple[str, str]]
    style: str

    def shapes(self, left: int, bottom: int) -> list[Markup]:
        """The title and a box a layer, in a drawing whose lowest boxes end at `bottom`."""
        boxes = [
            _BOX.format(
                x=left,
                y=top_of(bottom, i),
                width=BOX_WIDTH,
                height=BOX_HEIGHT,
                filled=round(BOX_WIDTH * share, 1),
                style=self.style,
                text_x=left + 10,
                text=text,
            )
            for i, (share, text) in enumerate(zip(self.shares, self.texts, strict=True))
        ]
        return [_HEAD.format(left + BOX_WIDTH / 2, self.title), *boxes]


def draw_stacks(stacks: Sequence[Stack], label: str, links: Sequence[Markup] = ()) -> Markup:
    """Draw stacks side by side as one figure; `links` lie below the boxes."""
    height = height_of(stacks)
    shapes = list(links)
    for i, stack in enumerate(stacks):
        shapes += stack.shapes(left_of(i), height - GAP)
    width = left_of(len(stacks) - 1) + BOX_WIDTH + MARGIN
    return _FIGURE.format(width=width, height=height, label=label, shapes=Markup("\n").join(shapes))


def height_of(stacks: Sequence[Stack]) -> int:
    """Height of the drawing."""
    return HEAD + max(len(stack.texts) for stack in stacks) * (BOX_HEIGHT + GAP)


def left_of(stack: int) -> int:
    """Where the boxes of a stack begin, from the left."""
    return MARGIN + stack * (BOX_WIDTH + BETWEEN)


def top_of(bottom: int, layer: int) -> int:
    """Where the box of a layer begins, from above."""
    return bottom - BOX_HEIGHT - layer * (BOX_HEIGHT + GAP)
