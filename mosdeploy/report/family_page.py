"""What a family says of its models on the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class FamilyPage:
    """What the page says in a family's own words.

    Attributes
    ----------
    workload
        One phrase for the workload: `batch 1, threads 1, fp32`.
    task
        What one run does, as a verb phrase: "On the device, the winner ... in 12 ms".
    metric_title
        Heading of the scores.
    draw, drawing_note
        Makes one `<figure>` of an architecture; how to read it.
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
