"""One entry of a family's table of genes: what may be chosen, and where the choice stands in an
architecture.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field


def _sorted_choices(choices: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(choices)) != len(choices):
        raise ValueError("choices must differ from one another")
    return tuple(sorted(choices))


MAX_WIDTH = 65_536
"""No network is so wide: beyond it sizes overflow before memory ends."""

MAX_LAYERS = 1_000

Width = Annotated[int, Field(gt=0, le=MAX_WIDTH)]
Choices = Annotated[tuple[Width, ...], Field(min_length=1), AfterValidator(_sorted_choices)]
"""Positive, different from one another, in ascending order."""

Depths = Annotated[
    tuple[Annotated[int, Field(gt=0, le=MAX_LAYERS)], ...],
    Field(min_length=1),
    AfterValidator(_sorted_choices),
]
"""The same of numbers of layers."""


@dataclass(frozen=True)
class Gene:
    """One entry of the table.

    Attributes
    ----------
    choices
        Name of the space's field that lists the choices.
    stack
        The list of layers in an architecture, each of which makes this choice; None for a choice
        made once.
    field
        Name of the choice in a layer (with a stack) or in the architecture; None for the number of
        layers of a stack.
    at_most
        A stack whose number of layers bounds the choice.
    """

    choices: str
    stack: str | None = None
    field: str | None = None
    at_most: str | None = None

    @cached_property
    def is_depth(self) -> bool:
        """Whether this is the number of layers of a stack."""
        return self.stack is not None and self.field is None

    @cached_property
    def is_per_layer(self) -> bool:
        """Whether each layer of a stack makes this choice."""
        return self.stack is not None and self.field is not None
