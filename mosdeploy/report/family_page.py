"""A family's part of the page: its words, and architectures drawn as stacks of boxes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

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
