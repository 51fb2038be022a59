"""How a part of a run folder is looked at."""

from collections.abc import Callable
from pathlib import Path

from ..errors import MosdeployError
from ..run_folder.summaries import Part

RUNS_NOW = "runs now; wait for it, or stop it"
"""How the detail of a part ends that a command makes at the moment."""

RUNS = f"a training {RUNS_NOW}"


def look_at(what: str, name: str, check: Callable[[], str], command: str | None) -> Part:
    """One part, by its check."""
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
    """Make sure that files exist."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(path)
