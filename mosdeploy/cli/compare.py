"""The verb `compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..printable import byte_size
from .options import DeviceCommon, HostOption, SearchedDeviceOption
from .printing import table

if TYPE_CHECKING:
    from ..pipeline.summaries import Comparison


def compare(
    common: DeviceCommon,
    bundles: Annotated[
        list[Path], typer.Argument(help="Two bundles or more: folders, or names in bundles/.")
    ],
    device: SearchedDeviceOption = None,
    host: HostOption = None,
) -> None:
    """Time bundles by turns on one device, and score them. On the same examples, at most
    `export.score_examples` of them; nothing is deployed.
    """
    from ..pipeline.compare import CompareOptions
    from ..pipeline.compare import compare as time_by_turns

    options = CompareOptions(tuple(bundles), device, host)
    found = time_by_turns(common.context(), options)
    common.show(found, _text(found))


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
                f"{total.median_ms:.2f}{'*' if bundle.measurement.flagged else ''}",
                f"{total.p90_ms:.2f}",
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
