"""The verb `compare`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from ..errors import ConfigError
from ..printable import byte_size, three_digits
from ..run_folder.options import CompareOptions
from .options import Common
from .printing import table

if TYPE_CHECKING:
    from ..run_folder.summaries import Comparison

CHART_FORMATS = ("html", "svg", "png")


def compare(
    common: Common,
    options: CompareOptions,
    chart: Annotated[
        Path | None,
        typer.Option(metavar="<path>", help="Draw them too: FILE.html, FILE.svg or FILE.png."),
    ] = None,
) -> None:
    """Time bundles by turns on one device, and score them. On the same examples, at most
    `export.score_examples` of them; nothing is deployed.
    """
    if chart is not None:
        _format_of(chart)  # before anything is timed
    from ..pipeline.compare import compare as time_by_turns

    found = time_by_turns(common.context(), options)
    common.show(found, _text(found))
    if chart is not None:
        _draw(found, chart)  # last: where it cannot be written, the table stands


def _format_of(path: Path) -> str:
    name = path.suffix.lower().removeprefix(".")
    if name not in CHART_FORMATS:
        known = ", ".join(f".{x}" for x in CHART_FORMATS)
        raise ConfigError(f"--chart {path}: its name must end in one of {known}")
    return name


def _draw(found: "Comparison", path: Path) -> None:
    """Write the chart of a comparison, whole or not at all."""
    from ..api.notebook import compare_chart
    from ..storage import atomic_write

    chart = compare_chart(found)
    image = _format_of(path)
    if image == "html":
        # with all scripts inside, for a browser without a network
        atomic_write(path, chart.to_html(inline=True))
        return
    drawn = io.StringIO() if image == "svg" else io.BytesIO()
    chart.save(drawn, format=cast("Literal['svg', 'png']", image))
    atomic_write(path, drawn.getvalue())


def _text(found: "Comparison") -> str:
    first = found.bundles[0].measurement.total
    rows = []
    for bundle in found.bundles:
        total = bundle.measurement.total
        assert first is not None  # the pipeline raises where one was not timed
        assert total is not None
        rows.append(
            (
                bundle.name,
                f"{three_digits(total.median_ms)}{'*' if bundle.measurement.flagged else ''}",
                three_digits(total.p90_ms),
                f"{total.median_ms / first.median_ms:.2f}",
                byte_size(bundle.size_bytes),
                *(f"{value:.2f}" for value in bundle.metrics.values()),
            )
        )
    header = ("bundle", "ms", "p90", "to the first", "size", *found.bundles[0].metrics)
    lines = [table(header, rows), f"timed by turns on {found.device}, scored on {found.scored_on}"]
    if any(bundle.measurement.flagged for bundle in found.bundles):
        lines.append("* the device was not stable meanwhile: run it again when it does less else")
    return "\n".join(lines)
