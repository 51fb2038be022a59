"""The teacher of a run folder, for families that learn from one."""

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import StaleInputError
from ..family import TaskData, Teacher, TeacherTask
from ..storage import listed
from .context import SILENT, Progress
from .run import Run

if TYPE_CHECKING:
    from ..data.batches import Dataset
    from ..training.log import LogLine


DRAW_SEED = 1


def training_examples(run: Run, data: TaskData, progress: Progress) -> Sequence[Any]:
    """Return the examples of the data or, of a family that distills, its teacher's answers to them.

    Answers that are missing in the run folder are made.
    """
    examples = data.train
    if run.family.distill is not None:
        show = functools.partial(progress.update, "teacher")
        folder = run.workspace.teacher_dir
        examples = run.family.distill(data, run.config, run.workspace.root, folder, show)
    return drawn(examples, run.config.training.train_examples)


def validation_examples(run: Run, data: TaskData) -> Sequence[Any]:
    """Return the examples that trainings are validated on."""
    return drawn(data.valid, run.config.training.valid_examples)


def drawn(examples: Sequence[Any], count: int | None) -> Sequence[Any]:
    """Draw so many examples, the same in every run: the first ones of a file may be alike."""
    if count is None or count >= len(examples):
        return examples
    rows = np.sort(np.random.default_rng(DRAW_SEED).permutation(len(examples))[:count])
    return [examples[row] for row in rows]


def train_teacher(
    run: Run,
    data_sha256: str,
    train: "Dataset",
    valid: "Dataset",
    show: "Callable[[LogLine, int, float], None]",
    progress: Progress,
) -> Teacher | None:
    """Train the teacher, or go on where a killed run stopped; a finished one is opened."""
    if run.family.open_teacher is None:
        return None
    task = replace(_task(run, data_sha256, progress), train=train, valid=valid, show=show)
    return run.family.open_teacher(task)


def remove_other_teachers(run: Run, data_sha256: str) -> None:
    """Remove the teachers that this run's supernet did not learn from."""
    teacher = finished_teacher(run, data_sha256)
    if teacher is None:
        return
    for folder in listed(run.workspace.teacher_dir, "*/"):
        if folder != teacher.folder:
            shutil.rmtree(folder, ignore_errors=True)


def finished_teacher(run: Run, data_sha256: str, progress: Progress = SILENT) -> Teacher | None:
    """Open the teacher that `train` left; None for a task that another run's supernet serves."""
    # what serves a task has the teacher of other data
    if run.family.open_teacher is None or run.config.supernet_from is not None:
        return None
    return run.family.open_teacher(_task(run, data_sha256, progress))


def is_taught(run: Run, data_sha256: str) -> bool:
    """Whether a run has the finished teacher of this data, or none at all."""
    try:
        finished_teacher(run, data_sha256)
    except StaleInputError:
        return False
    return True


def _task(run: Run, data_sha256: str, progress: Progress) -> TeacherTask:
    return TeacherTask(
        config=run.config,
        root=run.workspace.root,
        folder=run.workspace.teacher_dir,
        data_sha256=data_sha256,
        show_labels=functools.partial(progress.update, "label"),
    )
