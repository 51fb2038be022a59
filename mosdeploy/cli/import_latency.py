"""The verb `latency import`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import Common
from .printing import card_line


def import_latency(
    common: Common,
    file: Annotated[Path, typer.Argument(help="CSV file.")],
    device: Annotated[str, typer.Option(help="Device profile that it is about, e.g. rpi.")],
    workload: Annotated[
        str, typer.Option(help="Workload that it is about, by its name in mosdeploy.toml.")
    ],
    file_format: Annotated[
        Literal["hat"],
        typer.Option("--format", help="hat: as Hardware-Aware Transformers publish."),
    ] = "hat",
    source: Annotated[
        str, typer.Option(help="Where the file is from, for the predictor's card.")
    ] = "",
    licence: Annotated[
        str, typer.Option(help="Licence of the file, for the predictor's card.")
    ] = "",
) -> None:
    """Fit a predictor on published latencies.

    Rows that a throttled device spoilt are left out.
    """
    from ..pipeline.import_latency import ImportOptions
    from ..pipeline.import_latency import import_latency as fit_file
    from ..run_folder.status import next_command

    options = ImportOptions(file, device, workload, file_format, source, licence)
    context = common.context()
    card = fit_file(context, options)
    lines = [
        f"left out rows {block.start}-{block.stop - 1}: {100 * (block.time_ratio - 1):+.0f}% "
        "against the rest"
        for block in card.left_out
    ]
    lines.append(f"{card.device}-{card.workload} ({card.runtime}): {card_line(card)}")
    command = next_command(context)
    option = " --no-verify"  # whoever has the board measures it
    if command is not None and command.startswith("mosdeploy search"):
        command = command.removesuffix(option) + option
    common.show(card, "\n".join(lines), command)
