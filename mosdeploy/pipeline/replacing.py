"""What a training finds in its place: the state of another one, or a supernet that it replaces.

In: what a training is begun with, and what lies in the run folder. Out: words about the difference.
"""

import contextlib
from collections.abc import Iterator

from ..config import RunConfig
from ..errors import StaleInputError
from ..records import BegunTraining, SupernetCard
from ..storage import read_record
from ..workspace import Workspace
from .train_command import TRAIN, train_command
from .trained_settings import limit_differences, setting_differences


@contextlib.contextmanager
def telling_differences(
    files: Workspace, config: RunConfig, wanted: BegunTraining
) -> Iterator[None]:
    """Say of a state that is refused in what its training was another one, where that is known.

    Raises
    ------
    StaleInputError
        As what is done in it raises it, with these words.
    """
    try:
        yield
    except StaleInputError as error:
        found = begun_training(files)
        differences = [] if found is None else training_differences(found, config, wanted)
        if found is None or not differences:
            raise
        # the options alone: what else changed has to be restored in the run file
        same = found.settings == wanted.settings and found.data_sha256 == wanted.data_sha256
        on = f"; `{train_command(config, found)}` goes on with it" if same else ""
        raise StaleInputError(f"{error} ({', '.join(differences)}){on}") from error


def begun_training(files: Workspace) -> BegunTraining | None:
    """What the training in a folder was begun with that is not over; None where that is not
    known.
    """
    with contextlib.suppress(StaleInputError):
        return read_record(BegunTraining, files.begun_path, TRAIN)
    return None


def training_differences(
    found: BegunTraining | SupernetCard, config: RunConfig, wanted: BegunTraining
) -> list[str]:
    """In what a training that is asked for is another one than what is found, in words."""
    if found.inputs_sha256 == wanted.inputs_sha256:
        return []
    data = ["the data are others"] if found.data_sha256 != wanted.data_sha256 else []
    limits = limit_differences(found.limits, wanted.limits)
    return [*data, *setting_differences(found.settings, config), *limits]
