"""The teacher of a run folder, for families that learn from one."""

import functools
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import StaleInputError
from ..family import TaskData, Teacher, TeacherTask
from ..storage import disk_errors
from ..workspace import Workspace
from .context import SILENT, Context, Progress
from .run import Run
from .token_files import training_progress

if TYPE_CHECKING:
    from ..data.batches import Dataset


def training_examples(run: Run, data: TaskData, progress: Progress) -> Sequence[Any]:
    """Return the examples of the data or, of a family that distills, its teacher's answers to them.

    Answers that are missing in the run folder are made.
    """
    if run.family.distill is None:
        return data.train
    show = functools.partial(progress.update, "teacher")
    folder = run.workspace.teacher_dir
    return run.family.distill(data, run.config, run.data_root, folder, show)


def train_teacher(
    run: Run, data_sha256: str, train: "Dataset", valid: "Dataset", progress: Progress
) -> Teacher | None:
    """Train the teacher, or go on where a killed run stopped; a finished one is opened."""
    if run.family.open_teacher is None:
        return None
    show = training_progress("teacher", progress)
    task = replace(_task(run, data_sha256, progress), train=train, valid=valid, show=show)
    return run.family.open_teacher(task)


def ensure_teacher(context: Context, data: TaskData) -> None:
    """Train the teacher of a supernet that is finished again if it was lost."""
    if is_taught(context.run, data.sha256):
        return
    context.progress.say("the supernet is whole, its teacher is not: training that again")
    tokenizer = context.family.load_tokenizer(context.files.tokenizer_path)
    train, valid = (
        context.family.tokenize(tokenizer, part, context.config)
        for part in (training_examples(context.run, data, context.progress), data.valid)
    )
    train_teacher(context.run, data.sha256, train, valid, context.progress)


def keep_teacher(old: Run, new: Run, data_sha256: str) -> None:
    """Give a run that is trained beside another its teacher, if it is what it would train
    itself.
    """
    source = old.workspace.teacher_dir
    target = new.workspace.teacher_dir
    if not source.is_dir() or target.exists() or not is_taught(old, data_sha256):
        return
    copy = target.with_name(f".{target.name}")
    with disk_errors(target):
        shutil.rmtree(copy, ignore_errors=True)  # of one that was killed
        shutil.copytree(source, copy, copy_function=_link)
        copy.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def remove_teacher_state(files: Workspace) -> None:
    """Remove what a training of a teacher that is over, or was given up, has left."""
    files.teacher_checkpoint_path.unlink(missing_ok=True)
    files.teacher_begun_path.unlink(missing_ok=True)


def finished_teacher(run: Run, data_sha256: str, progress: Progress = SILENT) -> Teacher | None:
    """Open the teacher that `train` left; None for a task that another run's supernet serves."""
    # what serves a task has the teacher of other data
    if run.family.open_teacher is None or run.config.served_by is not None:
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
        root=run.data_root,
        folder=run.workspace.teacher_dir,
        data_sha256=data_sha256,
        show_labels=functools.partial(progress.update, "label"),
    )
