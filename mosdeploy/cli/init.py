"""The verb `init`."""

from typing import Annotated

import typer

from ..recipes import list_recipes
from .options import Common, DeviceOption


def init(
    common: Common,
    recipe: Annotated[str, typer.Option(help=f"Template: {', '.join(list_recipes())}.")] = "tiny",
    device: DeviceOption = None,
) -> None:
    """Write a commented mosdeploy.toml."""
    from ..pipeline.init import init as write

    written = write(common.directory, recipe, device)
    common.show(written, f"wrote {written.path}", "mosdeploy train")
