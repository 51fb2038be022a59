"""What a search that is not over is for, so that the same can be proposed after a kill.

In: a `BegunSearch`. Out: a file that lies there until the search is over.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import InfeasibleError
from ..records import BegunSearch
from ..storage import write_record


@contextlib.contextmanager
def noted(path: Path, begun: BegunSearch) -> Iterator[None]:
    """Keep a note while something is done; also after a failure, unless nothing was found."""
    write_record(path, begun)
    try:
        yield
    except InfeasibleError:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)
