"""The verb `compare`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    image = "" if chart is None else chart.suffix.lower().removeprefix(".")
    if chart is not None and image not in CHART_FORMATS:  # before anything is timed
        known = ", ".join(f".{x}" for x in CHART_FORMATS)
        raise ConfigError(f"--chart {chart}: its name must end in one of {known}")
    from ..pipeline.compare import compare as time_by_turns

    found = time_by_turns(common.context(), options)
    common.show(found, _text(found))
    if chart is not None:  # last: where it cannot be written, the table stands
        from ..api.notebook import compare_chart
        from ..storage import atomic_write

        drawn = io.BytesIO() if image == "png" else io.StringIO()
        # a page with all scripts inside, for a browser without a network
        compare_chart(found).save(drawn, image, inline=image == "html")  # type: ignore[arg-type]
        atomic_write(chart, drawn.getvalue())


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
