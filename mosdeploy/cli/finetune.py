"""The verb `finetune`."""

import shlex

from ..run_folder.options import FinetuneOptions
from .options import Common


def finetune(common: Common, options: FinetuneOptions) -> None:
    """Train one subnet alone, from its inherited weights. The same command resumes."""
    from ..pipeline.finetune import finetune as train_alone
    from ..run_folder.status import next_command
    from ..run_folder.subnets import losses_of

    context = common.context()
    card = train_alone(context, options)
    command = "mosdeploy export"
    if options.pick != "winner":
        command += f" --pick {shlex.quote(str(options.pick))}"
    if options.from_scratch:
        command += f" --weights {card.weights}"
    if options.pick == "winner" and not options.from_scratch:
        command = next_command(context) or command
    text = f"{card.weights} {card.arch.key}: {card.steps} steps, {losses_of(card)}"
    # what has no answers has no bundle
    common.show(card, text, command if context.config.gives_answers else None)
