"""How a part of a run folder is looked at.

In: a check that raises where the part is missing or no longer counts. Out: a `Part`.
"""

from collections.abc import Callable
from pathlib import Path

from ..errors import MosdeployError
from .summaries import Part

RUNS_NOW = "runs now; wait for it, or stop it"
"""How the detail of a part ends that a command makes at the moment."""

RUNS = f"a training {RUNS_NOW}"


def look_at(what: str, name: str, check: Callable[[], str], command: str | None) -> Part:
    """One part, by its check.

    Parameters
    ----------
    check
        What is in it. Raises FileNotFoundError if it is missing, a MosdeployError if it no longer
        counts.
    command
        What makes it.
    """
    try:
        return Part(what=what, name=name, state="ok", detail=check())
    except FileNotFoundError:
        return Part(what=what, name=name, state="missing", command=command)
    except MosdeployError as error:
        return Part(what=what, name=name, state="stale", detail=str(error), command=command)


def subnets(count: int) -> str:
    """So many subnets, in words."""
    return "1 subnet" if count == 1 else f"{count} subnets"


def require(*paths: Path) -> None:
    """Make sure that files exist.

    Raises
    ------
    FileNotFoundError
        If one does not.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(path)
