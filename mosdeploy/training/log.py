"""The training log: JSON Lines, one for each step.

In: a step's numbers, and where to cut when a run resumes. Out: `LogLine`s on disk, each step once.
"""

import json
from pathlib import Path

from ..errors import StaleInputError
from ..record import Record
from ..storage import atomic_write, read_lines


class LogLine(Record):
    """One line of the training log.

    Attributes
    ----------
    step
        From 1.
    loss
        Training loss, with label smoothing, in nats a target.
    gradient_norm
        Before clipping; None where fp16 overflowed and the step was left out.
    targets_per_s
        Counts each target once, however many architectures saw it.
    seconds
        Training time so far, summed over resumed runs.
    largest_loss, smallest_loss, subnet_loss
        Validation losses, without label smoothing, in nats a target: of a supernet's largest and
        smallest subnet, or of the subnet that is trained alone.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float | None
    targets_per_s: float
    seconds: float
    largest_loss: float | None = None
    smallest_loss: float | None = None
    subnet_loss: float | None = None


def cut_log(path: Path, last_step: int) -> None:
    """Cut off what follows a step: lines of a run that was killed past its last checkpoint; all
    of them before the first step.

    Raises
    ------
    StaleInputError
        If a line is corrupt.
    """
    if last_step == 0:  # a new training; what stands there, of whichever version, is an older one's
        path.unlink(missing_ok=True)
        return
    lines, torn = read_lines(path)
    try:
        kept = [line for line in lines if json.loads(line)["step"] <= last_step]
    except (ValueError, KeyError, TypeError) as error:
        raise StaleInputError(
            f"{path} is corrupt ({error}); delete it, only the plot of the training is lost, "
            "and run the same command again"
        ) from error
    if torn or len(kept) < len(lines):
        atomic_write(path, b"".join(line + b"\n" for line in kept))
