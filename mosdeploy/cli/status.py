"""The verb `status`."""

from typing import Annotated

import typer

from .options import Common
from .printing import table


def status(
    common: Common,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Read the data, to see whether they changed.")
    ] = True,
) -> None:
    """Show what the run folder holds, what is stale, what to run next."""
    from ..pipeline.status import status as look

    found = look(common.context(), read_data=data)
    rows = [
        (x.what, x.name, x.state, x.detail or (x.command and f"run `{x.command}`") or "")
        for x in found.parts
    ]
    common.show(found, table(("what", "of", "state", "details"), rows), found.next_command)
