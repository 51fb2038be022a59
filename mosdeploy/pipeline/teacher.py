"""The teacher of a run folder, for families that learn from one.

In: a run and, to train it, examples as token ids. Out: the family's `Teacher`, or None.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..family import Teacher, TeacherTask
from .context import Progress
from .run import Run
from .token_files import training_progress

if TYPE_CHECKING:
    from ..data.protocols import Dataset


def train_teacher(
    run: Run, data_sha256: str, train: "Dataset", valid: "Dataset", progress: Progress
) -> Teacher | None:
    """Train the teacher, or go on where a killed run stopped; a finished one is opened.

    Raises
    ------
    ConfigError
        If the run file does not fit what the teacher starts from.
    StaleInputError
        If an unfinished training was for something else.
    """
    if run.family.open_teacher is None:
        return None
    show = training_progress("teacher", progress)
    task = replace(_task(run, data_sha256), train=train, valid=valid, show=show)
    return run.family.open_teacher(task)


def finished_teacher(run: Run, data_sha256: str) -> Teacher | None:
    """Open the teacher that `train` left; None for a task that another run's supernet serves.

    Raises
    ------
    StaleInputError
        If there is none of this data.
    """
    # what serves a task has the teacher of other data
    if run.family.open_teacher is None or run.config.served_by is not None:
        return None
    return run.family.open_teacher(_task(run, data_sha256))


def _task(run: Run, data_sha256: str) -> TeacherTask:
    return TeacherTask(
        config=run.config,
        root=run.data_root,
        folder=run.workspace.teacher_dir,
        data_sha256=data_sha256,
    )
