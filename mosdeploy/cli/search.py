"""The verb `search`."""

from typing import TYPE_CHECKING, Annotated

import typer

from .options import DeviceCommon, DeviceOption
from .printing import kept

if TYPE_CHECKING:
    from ..records import SearchResult


def search(
    common: DeviceCommon,
    device: DeviceOption = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Latency limit with its unit: 150ms, 3.5s.")
    ] = None,
    max_parameters: Annotated[
        str | None, typer.Option(help="Parameter limit: 4M, 3500000.")
    ] = None,
    max_size: Annotated[str | None, typer.Option(help="Bundle size limit: 12MiB.")] = None,
    verify: Annotated[bool, typer.Option(help="Measure the finalists on the device.")] = True,
) -> None:
    """Find the best subnet within the limits and measure the finalists on the device."""
    from ..config.units import parse_count, parse_duration_ms
    from ..pipeline.search import SearchOptions
    from ..pipeline.search import search as find
    from ..records import Limits

    limits = Limits(
        max_latency_ms=parse_duration_ms(max_latency) if max_latency is not None else None,
        max_parameters=parse_count(max_parameters) if max_parameters is not None else None,
        max_size_bytes=parse_count(max_size) if max_size is not None else None,
    )
    result = find(common.context(), SearchOptions(device, limits, verify))
    common.show(result, _text(result), "mosdeploy finetune")


def _text(result: "SearchResult") -> str:
    winner = result.winner
    counts = f"  {result.num_evaluated:,} subnets evaluated"
    if result.num_early_stopped:
        counts += f", {result.num_early_stopped:,} of them stopped early, being clearly worse"
    if result.quality is not None:
        counts += (
            f", {result.num_predicted:,} predicted; the quality predictor's Kendall tau on subnets "
            f"held out from it: {result.quality.kendall_tau:.3f}"
        )
    lines = [
        f"winner {winner.arch.key}: {winner.arch}",
        f"  validation loss {winner.loss:.4f}, {winner.num_parameters:,} parameters",
        counts,
    ]
    if winner.predicted_ms is not None:
        measured = "NOT measured (--no-verify): the limit is a prediction"
        if winner.measured_ms is not None:
            limit = kept(winner.measured_ms, result.limits.max_latency_ms)
            measured = f"measured {winner.measured_ms:.2f} ms on the device{limit}"
        lines.append(f"  predicted {winner.predicted_ms:.2f} ms, {measured}")
    return "\n".join(lines)
