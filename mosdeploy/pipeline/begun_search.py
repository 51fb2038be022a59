"""What a search that is not over is for, so that the same can be proposed after a kill; a walk
notes it before its first verb.

In: a `BegunSearch`. Out: a file that lies there until the search is over.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import MosdeployError, StaleInputError
from ..records import BegunSearch
from ..storage import read_record, write_record


def begun_search(path: Path) -> BegunSearch | None:
    """The note that lies there; None where none does."""
    with contextlib.suppress(StaleInputError):
        return read_record(BegunSearch, path, "mosdeploy search")
    return None


@contextlib.contextmanager
def noted(path: Path, begun: BegunSearch) -> Iterator[None]:
    """Keep a note while something is done. A kill and Ctrl-C leave it; after an error, which says
    what to do next, the same would not help.
    """
    write_record(path, begun)
    try:
        yield
    except MosdeployError:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)
