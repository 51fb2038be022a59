"""The verb `train`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..printable import byte_size, duration
from ..run_folder.options import TrainOptions
from .options import Common
from .printing import table

if TYPE_CHECKING:
    from ..records import DryRun


def train(
    common: Common,
    options: TrainOptions,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing: print parameters, memory and the time of a step."
        ),
    ] = False,
) -> None:
    """Train the supernet. The same command resumes."""
    context = common.context()
    if dry_run:
        from ..pipeline.train import dry_run as try_training

        tried = try_training(context, options)
        time = "" if options.time is None else f" --time {options.time}"
        again = f"mosdeploy train{time}"
        common.show(tried, _cost_table(tried), again)
        return
    from ..pipeline.train import train as train_supernet
    from ..run_folder.status import next_command

    card = train_supernet(context, options)
    common.show(
        card,
        f"supernet: {card.steps} steps, validation loss {card.largest_loss:.3f} (largest subnet), "
        f"{card.smallest_loss:.3f} (smallest)",
        next_command(context),
    )


def _cost_table(tried: "DryRun") -> str:
    """What a dry run found, a line a way to share weights."""
    rows = []
    for name, cost in tried.costs.items():
        sizes = (cost.parameters_bytes, cost.optimizer_bytes, cost.peak_bytes)
        rows.append(
            (
                name,
                f"{cost.num_parameters:,}",
                *map(byte_size, sizes),
                f"{cost.step_s * 1000:,.0f}",
                f"{cost.step_s / tried.costs['none'].step_s:.2f}",
            )
        )
    header = ("supernet", "parameters", "size", "optimiser", "peak", "ms a step", "to none")
    cost = tried.costs["configured"]
    teacher = ""
    if tried.teacher_steps:
        took = duration(tried.teacher_s)
        teacher = f"\nteacher: {tried.teacher_steps:,} steps before that, about {took}"
    return (
        f"{table(header, rows)}\nconfigured: {tried.steps:,} steps of {cost.num_targets:,} "
        f"targets, {tried.steps * cost.num_targets / 1e6:,.1f} million in all, about "
        f"{duration(tried.steps * cost.step_s)} with one process here{teacher}"
    )
