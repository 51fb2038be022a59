"""Architectures drawn as stacks of boxes, the first layer at the bottom.

In: texts and shares. Out: SVG, escaped. What is drawn is the family's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 640
BOX_WIDTH = 244
BOX_HEIGHT = 34
GAP = 12
HEAD = 34

# `Markup.format` escapes whatever is filled in
_FIGURE = Markup(
    '<figure><div class="scroll">'
    '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" class="chart drawing">'
    "{shapes}</svg></div></figure>\n"
)
_HEAD = Markup('<text x="{:g}" y="20" text-anchor="middle" class="name">{}</text>')
_BOX = Markup(
    '<g><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" class="box"/>'
    '<rect x="{x}" y="{y}" width="{filled:g}" height="{height}" rx="5" class="fill {style}"/>'
    '<text x="{text_x}" y="{text_y:g}" class="layer">{text}</text></g>'
)


@dataclass(frozen=True)
class Stack:
    """One stack of layers.

    Attributes
    ----------
    title
        Stands above it.
    left
        Where its boxes begin.
    shares, texts
        Of each layer: how much of its box is filled, from 0 to 1, and what stands in it.
    style
        Class of the filled part: `primary` or `secondary`.
    """

    title: str
    left: int
    shares: Sequence[float]
    texts: Sequence[str]
    style: str

    def shapes(self, bottom: int) -> list[Markup]:
        """The title and a box a layer, in a drawing whose lowest boxes end at `bottom`."""
        boxes = [
            _BOX.format(
                x=self.left,
                y=top_of(bottom, i),
                width=BOX_WIDTH,
                height=BOX_HEIGHT,
                filled=round(BOX_WIDTH * share, 1),
                style=self.style,
                text_x=self.left + 10,
                text_y=top_of(bottom, i) + BOX_HEIGHT / 2 + 4.5,
                text=text,
            )
            for i, (share, text) in enumerate(zip(self.shares, self.texts, strict=True))
        ]
        return [_HEAD.format(self.left + BOX_WIDTH / 2, self.title), *boxes]


def draw_stacks(stacks: Sequence[Stack], label: str, links: Sequence[Markup] = ()) -> Markup:
    """Draw stacks side by side as one figure; `links` lie below the boxes."""
    height = height_of(stacks)
    shapes = [*links, *(shape for stack in stacks for shape in stack.shapes(height - GAP))]
    return _FIGURE.format(width=WIDTH, height=height, label=label, shapes=Markup("\n").join(shapes))


def height_of(stacks: Sequence[Stack]) -> int:
    """Height of the drawing."""
    return HEAD + max(len(stack.texts) for stack in stacks) * (BOX_HEIGHT + GAP)


def top_of(bottom: int, layer: int) -> int:
    """Where the box of a layer begins, from above."""
    return bottom - BOX_HEIGHT - layer * (BOX_HEIGHT + GAP)
