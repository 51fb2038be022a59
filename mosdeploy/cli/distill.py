"""The verb `distill`."""

from typing import Annotated

import typer

from .options import Common


def distill(
    common: Common,
    teacher: Annotated[
        str,
        typer.Option(
            help="largest (of this supernet, after `finetune --pick largest`), a bundle (its "
            "folder, or its name in bundles/), or the folder of a CTranslate2 model."
        ),
    ] = "largest",
    beam: Annotated[
        int | None,
        typer.Option(help="Hypotheses of beam search.", min=1, show_default="5, or a bundle's own"),
    ] = None,
) -> None:
    """Have a teacher answer the training inputs, to train on. The same command resumes."""
    from ..pipeline.distill import DistillOptions
    from ..pipeline.distill import distill as answer

    card = answer(common.context(), DistillOptions(teacher, beam))
    text = f"{card.num_examples} of {card.num_inputs} examples by {card.teacher}, {card.setup}"
    common.show(card, text, "mosdeploy finetune")
