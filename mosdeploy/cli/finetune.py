"""The verb `finetune`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..printable import score
from .options import Common, PickOption

if TYPE_CHECKING:
    from ..pipeline.finetune import FinetuneOptions
    from ..records import SubnetCard


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
    task: Annotated[
        Path | None,
        typer.Option(help="TOML of another task, which gets a fresh head and a folder in runs/."),
    ] = None,
) -> None:
    """Train one subnet alone, from its inherited weights. The same command resumes."""
    from ..pipeline.finetune import FinetuneOptions
    from ..pipeline.finetune import finetune as train_alone
    from ..run_folder.status import next_command
    from ..run_folder.subnets import losses_of

    options = FinetuneOptions(pick, steps, from_scratch)
    if task is not None:
        _finetune_task(common, task, options)
        return
    context = common.context()
    card = train_alone(context, options)
    command = "mosdeploy export"
    if not context.config.gives_answers:
        command = "mosdeploy finetune --task FILE"
    if pick != "winner":
        command += f" --pick {shlex.quote(pick)}"
    if from_scratch and context.config.gives_answers:
        command += f" --weights {card.weights}"
    if pick == "winner" and not from_scratch:
        command = next_command(context) or command
    common.show(card, f"{_trained(card)}, {losses_of(card)}", command)


def _finetune_task(common: Common, task: Path, options: "FinetuneOptions") -> None:
    from ..pipeline.tasks import finetune_task

    done = finetune_task(common.context(), task, options)
    card = done.subnet
    lines = [f"{_trained(card)}, validation loss {card.loss:.4f}"]
    rows = done.scores.subnets.items() if done.scores is not None else ()
    for name, scores in rows:
        metrics = ", ".join(f"{metric} {score(value)}" for metric, value in scores.metrics.items())
        lines.append(f"  {name}: {metrics} on {scores.num_examples} test examples")
    command = f"mosdeploy export --dir {shlex.quote(done.root)}"
    if options.from_scratch:
        command += f" --weights {card.weights}"
    common.show(done, "\n".join(lines), command)


def _trained(card: "SubnetCard") -> str:
    return f"{card.weights} {card.arch.key}: {card.steps} steps"
