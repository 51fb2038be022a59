"""The verb `init`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ..recipes import list_recipes
from ..run_folder.options import InitOptions
from .options import Common
from .printing import PROGRESS, table

if TYPE_CHECKING:
    from ..run_folder.summaries import NewRun


def init(
    common: Common,
    options: InitOptions,
    second: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="With --train: the file of the other language."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Template: {', '.join(list_recipes())}.", show_default="tiny"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device profile to name in it: local, rpi, or another of `devices list`.",
            show_default="none, which is this machine",
        ),
    ] = None,
) -> None:
    """Write a commented mosdeploy.toml, for your data or a template."""
    from ..pipeline.init import init as write
    from ..run_folder.summaries import NewRun

    if second is not None and not options.files:
        raise typer.BadParameter("FILE is about your data: add --train FILE")
    if second is not None:
        options = replace(options, train=(*options.files, second))
    new = write(common.directory, recipe, device, options, PROGRESS)
    text = _text(new) if isinstance(new, NewRun) else f"wrote {new.path}"
    common.show(new, text, "mosdeploy train")


def _text(new: "NewRun") -> str:
    estimate = new.estimate
    rows = [(verb, time, estimate.notes.get(verb, "")) for verb, time in estimate.expected.items()]
    facts = [f"{name:<11} {fact}" for name, fact in new.found.items()]
    then = table(("then", "takes here", "for"), rows)
    return "\n".join([*facts, f"wrote {new.path}", "", then, estimate.total])
