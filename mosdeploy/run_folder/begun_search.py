"""What a search that is not over is for, so that the same can be proposed after a kill; a walk
notes it before its first verb.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, InfeasibleError, PredictorError, StaleInputError
from ..records import BegunSearch
from ..storage import readable_record, write_record


def begun_search(path: Path) -> BegunSearch | None:
    """The note that lies there; None where none does."""
    return readable_record(BegunSearch, path)


@contextlib.contextmanager
def noted(path: Path, begun: BegunSearch) -> Iterator[None]:
    """Keep a note while something is done, and after a kill or a lost link; after an error that the
    same would end in again, it is removed.
    """
    write_record(path, begun)
    try:
        yield
    except (ConfigError, InfeasibleError, PredictorError, StaleInputError):
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)
