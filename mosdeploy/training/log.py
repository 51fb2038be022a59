"""The training log: JSON Lines, one for each update.

In: an update's numbers, and where to cut when a run resumes. Out: `LogLine`s on disk, each update
once.
"""

import json
from pathlib import Path

from ..errors import StaleInputError
from ..record import Record
from ..storage import atomic_write, read_lines


class LogLine(Record):
    """One line of the training log, one for each update.

    `loss` is the label-smoothed training loss; the three others are validation losses, negative
    log-likelihoods, of a supernet's largest and smallest subnet, or of the subnet that is trained
    alone; all in nats per target token. `tokens_per_s` counts each target token once, however many
    architectures saw it; `seconds` is the training time so far, summed over resumed runs.
    `gradient_norm` is None where fp16 overflowed and the step was left out.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float | None
    tokens_per_s: float
    seconds: float
    largest_loss: float | None = None
    smallest_loss: float | None = None
    subnet_loss: float | None = None


def cut_log(path: Path, last_update: int) -> None:
    """Cut off what follows an update: lines of a run that was killed past its last checkpoint.

    Raises
    ------
    StaleInputError
        If a line is corrupt.
    """
    lines, torn = read_lines(path)
    try:
        kept = [line for line in lines if json.loads(line)["step"] <= last_update]
    except (ValueError, KeyError, TypeError) as error:
        raise StaleInputError(
            f"{path} is corrupt ({error}); delete it, only the plot of the training is lost, "
            "and run the same command again"
        ) from error
    if torn or len(kept) < len(lines):
        atomic_write(path, b"".join(line + b"\n" for line in kept))
