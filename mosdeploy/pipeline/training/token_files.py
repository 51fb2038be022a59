"""Token ids between the rank that prepares a training and all ranks that train."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.sections import TrainingConfig
from ...family import Family
from ...run_folder.context import DrawsCurves, Progress
from ...storage import read_errors
from ...workspace import tokens_path

if TYPE_CHECKING:
    from ...data.batches import Batch, Batches, Dataset
    from ...training.log import LogLine


def write_tokens(folder: Path, train: "Dataset", valid: "Dataset") -> None:
    """Leave token ids in the folder of a training, for all ranks."""
    train.save(tokens_path(folder, "train"))
    valid.save(tokens_path(folder, "valid"))


def read_tokens(
    folder: Path, family: Family, config: TrainingConfig
) -> "tuple[Batches, list[Batch]]":
    """Read training and validation batches of the token ids in a folder."""
    from ...data.batches import Batches, ordered_batches

    with read_errors(folder):
        train = family.open_dataset(tokens_path(folder, "train"))
        valid = family.open_dataset(tokens_path(folder, "valid"))
    batches = Batches(train, config.tokens_per_batch, config.seed)
    return batches, ordered_batches(valid)


def remove_tokens(folder: Path) -> None:
    """Remove what `read_tokens` reads."""
    for split in ("train", "valid"):
        tokens_path(folder, split).unlink(missing_ok=True)


def training_progress(stage: str, progress: Progress) -> "Callable[[LogLine, int, float], None]":
    """Show the progress of a training as the trainer tells it, and its validation losses as a curve
    to whoever draws curves.
    """
    losses: list[float] = []

    def show(line: "LogLine", total: int, _: float) -> None:
        note = f"loss {line.loss:.3f}, {line.targets_per_s:,.0f} targets/s"
        if line.validation_loss is not None:
            losses.append(line.validation_loss)
        if losses:
            note += f", validation {losses[-1]:.3f}"
        if isinstance(progress, DrawsCurves):
            progress.curve(stage, losses)
        progress.update(stage, line.step, total, note)

    return show


def validated_seldom(config: TrainingConfig, num_batches: int) -> TrainingConfig:
    """The same training, which reads at least twice as many tokens between two validations as one
    of so many batches does: a short one would spend more time on these than on its steps.
    """
    from ...data.batches import VALIDATION_TOKENS

    least = 2 * num_batches * VALIDATION_TOKENS // config.tokens_per_batch
    return config.model_copy(update={"validate_every": max(config.validate_every, least)})
