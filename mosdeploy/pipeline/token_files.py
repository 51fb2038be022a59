"""Token ids between the rank that prepares a training and all ranks that train; and how they tell
that they get on.

In: tokenised pairs. Out: files in the folder of the training, and batches of what is in them. A
rank reads of the training pairs only what its batches need.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.sections import TrainingConfig
from ..workspace import pieces_path
from .run import Progress

if TYPE_CHECKING:
    from ..families.translation.dataset import Batch, Batches, TokenizedPairs

VALIDATION_TOKENS = 4096


def write_pieces(folder: Path, train: "TokenizedPairs", valid: "TokenizedPairs") -> None:
    """Leave token ids in the folder of a training, for all ranks."""
    train.save(pieces_path(folder, "train"))
    valid.save(pieces_path(folder, "valid"))


def read_pieces(folder: Path, config: TrainingConfig) -> "tuple[Batches, list[Batch]]":
    """Training and validation batches of the token ids in a folder."""
    from ..families.translation.dataset import Batches, TokenizedPairs, ordered_batches

    train, valid = (TokenizedPairs.open(pieces_path(folder, split)) for split in ("train", "valid"))
    return Batches(train, config.tokens_per_batch, config.seed), ordered_batches(
        valid, VALIDATION_TOKENS
    )


def forget_pieces(folder: Path) -> None:
    """Remove what `read_pieces` reads."""
    for split in ("train", "valid"):
        pieces_path(folder, split).unlink()


def shown(stage: str, progress: Progress) -> Callable[[int, int, float, float, float], None]:
    """Progress of a training as the trainer tells it."""

    def show(update: int, total: int, loss: float, tokens_per_s: float, _: float) -> None:
        progress.update(stage, update, total, f"loss {loss:.3f}, {tokens_per_s:,.0f} tokens/s")

    return show
