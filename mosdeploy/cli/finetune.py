"""The verb `finetune`."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Common, PickOption

if TYPE_CHECKING:
    pass


def finetune(
    common: Common,
    pick: PickOption = "winner",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps to train.",
            min=1,
            show_default="[finetune].steps, with --from-scratch the supernet's on top",
        ),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Start from random weights, for comparison."),
    ] = False,
) -> None:
    """Train one subnet alone, from its inherited weights. The same command resumes."""
    from ..pipeline.finetune import FinetuneOptions
    from ..pipeline.finetune import finetune as train_alone
    from ..run_folder.status import next_command
    from ..run_folder.subnets import losses_of

    options = FinetuneOptions(pick, steps, from_scratch)
    context = common.context()
    card = train_alone(context, options)
    command = "mosdeploy export"
    if pick != "winner":
        command += f" --pick {shlex.quote(pick)}"
    if from_scratch:
        command += f" --weights {card.weights}"
    if pick == "winner" and not from_scratch:
        command = next_command(context) or command
    text = f"{card.weights} {card.arch.key}: {card.steps} steps, {losses_of(card)}"
    # what has no answers has no bundle
    common.show(card, text, command if context.config.gives_answers else None)
