"""What a training finds in its place: the state of another one, or a supernet that it replaces."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..config import RunConfig
from ..errors import StaleInputError
from ..folders import listed
from ..records import BegunTraining, SupernetCard
from ..run_folder.budget import TRAIN, train_command
from ..run_folder.trained_settings import names_data, setting_differences
from ..storage import read_record, readable_record
from ..workspace import SUBNET_CARD_NAME, Workspace

OTHER_DATA = "the data are others"


@contextlib.contextmanager
def telling_differences(
    found: BegunTraining | None, config: RunConfig, wanted: BegunTraining
) -> Iterator[None]:
    """Say of a state that is refused in what its training was another one, where that is known."""
    try:
        yield
    except StaleInputError as error:
        differences = [] if found is None else training_differences(found, config, wanted)
        if found is None or not differences:
            raise
        # the options alone: what else changed has to be restored in the run file
        same = (
            found.settings is not None
            and not setting_differences(found.settings, config)
            and found.data_sha256 == wanted.data_sha256
        )
        on = f"; `{train_command(found.budget)}` goes on with it" if same else ""
        raise StaleInputError(f"{error} ({', '.join(differences)}){on}") from error


def stopped_beside(files: Workspace) -> str:
    """What is told of a stopped training beside a supernet that it is not about."""
    path = stopped_state(files.beside) or files.beside.checkpoint_path
    return f"another training was stopped; it is in {path.parent.name}/, delete that to forget it"


def begun_training(files: Workspace) -> BegunTraining | None:
    """What the training in a folder was begun with that is not over; None where that is not
    known.
    """
    return readable_record(BegunTraining, files.begun_path)


def last_begun(files: Workspace) -> BegunTraining | None:
    """The same of the training beside what is there, or else of that in the folder."""
    return begun_training(files.beside) or begun_training(files)


def begun_teacher(files: Workspace) -> BegunTraining | None:
    """What the training of the teacher that lies there was begun with; None as above."""
    return readable_record(BegunTraining, files.teacher_begun_path)


def stopped_state(files: Workspace) -> Path | None:
    """What a training that is not over has left: of the supernet, or of the teacher before it."""
    if files.checkpoint_path.exists():
        return files.checkpoint_path
    is_begun = files.begun_path.exists() and files.teacher_checkpoint_path.exists()
    return files.teacher_checkpoint_path if is_begun else None


def training_differences(
    found: BegunTraining | SupernetCard, config: RunConfig, wanted: BegunTraining
) -> list[str]:
    """In what a training that is asked for is another one than what is found, in words."""
    if found.inputs_sha256 == wanted.inputs_sha256:
        return []
    settings = setting_differences(found.settings, config)
    is_same = found.data_sha256 == wanted.data_sha256 or names_data(settings, config)
    return [*([] if is_same else [OTHER_DATA]), *settings]


def replacement_words(files: Workspace, config: RunConfig, wanted: BegunTraining) -> list[str]:
    """What a training says that puts another supernet in the place of one that is finished: in what
    it differs, and what counts no more once it is over.
    """
    standing = read_record(SupernetCard, files.supernet_card_path, TRAIN)
    differences = training_differences(standing, config, wanted) or ["how is not known"]
    words = [
        f"the supernet here was trained otherwise ({', '.join(differences)})",
        "the supernet that stands here stays until the new one is trained",
    ]
    if stale := _made_from_supernet(files):
        words.append(
            f"then what was made from it no longer counts: {', '.join(stale)}; to keep all of "
            "that, stop now and train in another run folder"
        )
    return words


def _made_from_supernet(files: Workspace) -> list[str]:
    """What of a supernet's walk is in a run folder, but for bundles, which stay what they are."""
    trained = listed(files.subnets_dir, f"*/{SUBNET_CARD_NAME}")
    alone = [path for path in trained if not path.parent.name.endswith("-scratch")]
    found = {
        "the search": files.search_result_path.exists(),
        f"{len(alone)} trained {'subnet' if len(alone) == 1 else 'subnets'}": bool(alone),
        "the scores": files.scores_path.exists(),
        "the report": files.report_page_path.exists(),
    }
    return [name for name, is_there in found.items() if is_there]
