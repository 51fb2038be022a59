"""The verb `finetune`."""

from typing import Annotated

import typer

from .options import ArchOption, Common


def finetune(
    common: Common,
    arch: ArchOption = "winner",
    steps: Annotated[
        int | None,
        typer.Option(help="Default: [finetune].steps, from scratch the supernet's on top.", min=1),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option(help="Start from random weights, for comparison.")
    ] = False,
) -> None:
    """Train one subnet alone, on from its inherited weights; the same command resumes."""
    from ..pipeline.finetune import FinetuneOptions
    from ..pipeline.finetune import finetune as train_alone

    card = train_alone(common.context(), FinetuneOptions(arch, steps, from_scratch))
    losses = f"validation loss {card.start_loss:.4f} to {card.loss:.4f}"
    command = "mosdeploy export"
    if arch != "winner":
        command += f" --arch {arch}"
    if from_scratch:
        command += f" --weights {card.weights}"
    text = f"{card.weights} {card.arch.key}: {card.steps} steps, {losses}"
    common.show(card, text, command)
