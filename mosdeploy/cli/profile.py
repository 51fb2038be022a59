"""Verbs about latency: profile, fit, latency import."""

from pathlib import Path
from typing import Annotated

import typer

from .. import pipeline
from .options import HERE, SSH_CONFIG, DeviceOption, DirOption, JsonOption, SshOption
from .printing import EMULATED, card_line, fleet, show, transfer, until
from .progress import PROGRESS


def profile(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    budget: Annotated[int | None, typer.Option(help="Subnets to measure in all.", min=4)] = None,
    until_error: Annotated[
        str | None,
        typer.Option(
            help="Stop measuring once the predictor errs less: 2%. The budget still bounds it."
        ),
    ] = None,
    hosts: Annotated[
        str | None,
        typer.Option(
            help="Boards of this kind to measure on at once, by their aliases: pi1,pi2,pi3."
        ),
    ] = None,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Measure a few well-chosen subnets on the device; a rerun measures only what is missing."""
    from ..config.units import parse_percent

    until_percent = parse_percent(until_error) if until_error is not None else None
    boards = tuple(host.strip() for host in hosts.split(",")) if hosts is not None else ()
    result = pipeline.profile(
        pipeline.open_run(directory), device, budget, ssh_config, PROGRESS, until_percent, boards
    )
    text = f"{result.device}: {result.measured_now} measured now, {result.num_records} in {result.path}"
    if result.failed:
        text += f", {result.failed} failed"
    if result.card is not None:
        text += f"\npredictor (cross-validated): {card_line(result.card)}"
    if result.emulated:
        text += f"\n{EMULATED}: nothing is fitted to these times, and no search takes them"
    if result.noise_floor_percent is not None:
        text += f"\nfloor: repeats of one subnet lie {result.noise_floor_percent:.2f}% from their median"
    text += until(result) + fleet(result)
    show(result, as_json, text, None if result.emulated else "mosdeploy search --max-latency 150ms")


def fit(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="Correct this device's predictor; five measurements are enough for that."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the latency predictor to what was measured (profile and search do this by themselves)."""
    card = pipeline.fit(pipeline.open_run(directory), device, source)
    text = f"{card.device}-{card.workload}: {card_line(card)}{transfer(card)}"
    show(card, as_json, text, "mosdeploy search --max-latency 150ms")


def latency_import(
    file: Annotated[Path, typer.Argument(help="CSV file.")],
    device: Annotated[str, typer.Option(help="Device profile that the file is about, e.g. rpi.")],
    workload: Annotated[
        str, typer.Option(help="Name of the workload that the file is about, as in mosdeploy.toml.")
    ],
    file_format: Annotated[
        str, typer.Option("--format", help="hat: as Hardware-Aware Transformers publish.")
    ] = "hat",
    source: Annotated[
        str, typer.Option(help="Where the file is from, for the predictor's card.")
    ] = "",
    licence: Annotated[
        str, typer.Option(help="Licence of the file, for the predictor's card.")
    ] = "",
    directory: DirOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Fit a predictor on published latencies, without the blocks of rows that a throttled device
    spoilt.
    """
    card = pipeline.import_latency(
        pipeline.open_run(directory), file, file_format, device, workload, source, licence
    )
    lines = [
        f"left out rows {block.start}-{block.stop - 1}: {100 * (block.time_ratio - 1):+.0f}% against the rest"
        for block in card.left_out
    ]
    lines.append(f"{card.device}-{card.workload} ({card.runtime}): {card_line(card)}")
    show(
        card,
        as_json,
        "\n".join(lines),
        f"mosdeploy search --device {card.device} --max-latency 4s --no-verify",
    )
