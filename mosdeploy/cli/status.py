"""The verb `status`."""

from .options import Common
from .printing import table, terminal_width


def status(common: Common) -> None:
    """Show what the run folder holds, what is stale, what to run next."""
    from ..run_folder.status import status as look

    found = look(common.context())
    rows = [
        (x.what, x.name, x.state, x.detail or (x.command and f"run `{x.command}`") or "")
        for x in found.parts
    ]
    text = table(("what", "of", "state", "details"), rows, terminal_width())
    if any(x.what == "data" and x.state == "stale" for x in found.parts):
        text += "\nfirst mend the data, which every command reads, as it is told of them here"
    common.show(found, text, found.next_command)
