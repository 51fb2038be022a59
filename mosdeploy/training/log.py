"""The training log: JSON Lines, one for each step, and if wanted TensorBoard's events beside
them.
"""

import importlib.util
import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, StaleInputError
from ..record import Record, parse_json
from ..storage import append_line, atomic_write, disk_errors, read_lines

EVENTS_NAME = "tensorboard"
"""Of the folder with TensorBoard's events, beside the JSON Lines."""

LogKind = Literal["jsonl", "tensorboard"]


class LogLine(Record):
    """One line of the training log."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float | None
    targets_per_s: float
    seconds: float
    largest_loss: float | None = None
    smallest_loss: float | None = None
    subnet_loss: float | None = None

    @property
    def validation_loss(self) -> float | None:
        """Of the largest subnet, or of the one that is trained alone; None between validations."""
        return self.subnet_loss if self.largest_loss is None else self.largest_loss


class TrainingLog:
    """The log of one training, open for its next steps."""

    def __init__(self, path: Path, kind: LogKind, last_step: int) -> None:
        self._path = path
        self._kind = kind
        self._last_step = last_step
        cut_log(path, last_step)
        if last_step == 0:  # events of an older training are not those of this one
            shutil.rmtree(path.with_name(EVENTS_NAME), ignore_errors=True)

    def append(self, line: LogLine) -> None:
        """Write the numbers of the next step."""
        append_line(self._path, line)
        if self._kind == "tensorboard":
            for name, value in line.model_dump(exclude={"step"}, exclude_none=True).items():
                self._events.add_scalar(name, value, line.step)

    def flush(self) -> None:
        """Force events to the disk, before a state that a killed run resumes from."""
        if self._kind == "tensorboard":
            with disk_errors(self._path):
                self._events.flush()

    def close(self) -> None:
        """End the thread that writes events, if there is one."""
        if "_events" in self.__dict__:
            self._events.close()

    @cached_property
    def _events(self) -> Any:
        # made at the first step, so that a finished training leaves no empty file
        from torch.utils.tensorboard import SummaryWriter

        folder = self._path.with_name(EVENTS_NAME)
        # readers leave out what a killed run wrote past its last checkpoint
        return SummaryWriter(str(folder), purge_step=self._last_step + 1)


def check_log(kind: LogKind) -> None:
    """Make sure that a log of this kind can be written."""
    if kind == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "training.log = 'tensorboard' needs TensorBoard: pip install 'mosdeploy[tensorboard]', "
            "or leave it out; the JSON Lines are always written"
        )


def validation_losses(path: Path) -> dict[int, float]:
    """The mean of a supernet's largest and smallest subnet at each step that was validated."""
    found = {}
    for number, line in enumerate(read_lines(path)[0], start=1):
        try:
            read = parse_json(LogLine, line, f"{path}, line {number}")
        except ConfigError as error:
            raise StaleInputError(str(error)) from error
        if read.largest_loss is not None and read.smallest_loss is not None:
            found[read.step] = (read.largest_loss + read.smallest_loss) / 2
    return found


def cut_log(path: Path, last_step: int) -> None:
    """Cut off what follows a step: lines of a run that was killed past its last checkpoint; all of
    them before the first step.
    """
    if last_step == 0:  # a new training; what stands there, of whichever version, is an older one's
        path.unlink(missing_ok=True)
        return
    lines, torn = read_lines(path)
    try:
        kept = [line for line in lines if json.loads(line)["step"] <= last_step]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StaleInputError(
            f"{path} is corrupt ({error}); delete it, only the plot of the training is lost, "
            "and run the same command again"
        ) from error
    if torn or len(kept) < len(lines):
        atomic_write(path, b"".join(line + b"\n" for line in kept))
