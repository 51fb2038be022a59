"""The distilled examples of a run folder: what the verb `distill` left, and what it is good for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config.sections import TrainingData
from ..errors import ConfigError, StaleInputError
from ..family import TaskData
from ..record import Record, load_json
from ..records import DistilledCard, SubnetCard
from ..storage import read_lines, read_record, readable_record, sha256_file
from ..workspace import Workspace
from .run import Run

LARGEST = "largest"
"""The teacher that is a subnet of the run's own supernet."""

AGAIN = "run `mosdeploy distill` again"


class BegunDistilling(Record):
    """What began a distillation that is not over."""

    version: Literal[1] = 1
    command: str


@dataclass(frozen=True)
class Distilled:
    """Which examples a training reads, and the card of the distilled ones among them."""

    which: TrainingData = "original"
    card: DistilledCard | None = None

    @property
    def sha256(self) -> tuple[str, ...]:
        """What goes into the fingerprint of a training; nothing for original examples alone."""
        return () if self.card is None else (self.which, self.card.examples_sha256)

    def examples(self, run: Run, data: TaskData) -> Sequence[Any]:
        """The training examples; with distilled ones among them, equal ones are there once."""
        if self.card is None:
            return data.train
        path = run.workspace.distilled_path
        if self.card.data_sha256 != data.sha256:
            raise StaleInputError(
                f"{path} was made from other data than those at hand; {_delete(path)}"
            )
        if not path.exists() or sha256_file(path) != self.card.examples_sha256:
            raise StaleInputError(
                f"{path} is missing or is not the file of its card; {_delete(path)}"
            )
        answered = read_answered(path)[1]
        taught = [tuple(example) for i in sorted(answered) for example in answered[i]]
        # each chunk was cleaned by itself
        return list(dict.fromkeys(taught if self.which == "distilled" else [*data.train, *taught]))


def distilled(run: Run, which: TrainingData) -> Distilled:
    """What a training with this `data` reads."""
    if which == "original":
        return Distilled()
    path = run.workspace.distilled_card_path
    card = read_record(DistilledCard, path, "mosdeploy distill")
    return Distilled(which, card)


def check_teacher(run: Run, card: DistilledCard) -> None:
    """Make sure that a teacher that belongs to the run is still the one that answered."""
    if card.teacher != LARGEST:
        return
    files = run.workspace
    ends = run.supernet_card().limits or run.config.space
    path = files.subnet_card_path(ends.largest.key, "finetuned")
    teacher = read_record(SubnetCard, path, "mosdeploy finetune --pick largest")
    if teacher.subnet_sha256 != card.teacher_sha256:
        raise StaleInputError(
            f"{files.distilled_path} is the work of another teacher than the largest subnet as it "
            f"is now; {_delete(files.distilled_path)}"
        )


def check_has_teachers(run: Run) -> None:
    """Refuse distillation for a family that has none."""
    if run.family.distill is None:
        raise ConfigError(
            f"no other model answers the examples of an '{run.family.name}': `mosdeploy distill` "
            "and [finetune] teacher are for translations"
        )


def check_no_circle(card: DistilledCard | None) -> None:
    """Refuse to train a supernet on what its own largest subnet said."""
    if card is not None and card.teacher == LARGEST:
        raise ConfigError(
            "[training] data: the distilled examples are the work of this supernet's own largest "
            "subnet, which training it again would replace; use them in [finetune], or distill "
            "with a bundle or another model as --teacher"
        )


def finished(files: Workspace, inputs_sha256: str) -> DistilledCard | None:
    """The card of examples that lie there whole and were made from just that."""
    if not files.distilled_card_path.exists():
        return None
    card = read_record(DistilledCard, files.distilled_card_path, "mosdeploy distill")
    path = files.distilled_path
    whole = path.exists() and sha256_file(path) == card.examples_sha256
    return card if whole and card.inputs_sha256 == inputs_sha256 else None


def read_answered(path: Path) -> tuple[str | None, dict[int, list[Any]]]:
    """The fingerprint in the first line of a file of distilled examples, and the examples of each
    chunk that was answered.
    """
    try:
        lines = [load_json(line) for line in read_lines(path)[0]]
        if not lines:
            return None, {}
        return lines[0]["inputs_sha256"], {line["chunk"]: line["examples"] for line in lines[1:]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StaleInputError(f"{path} is corrupt ({error}); {_delete(path)}") from error


def begun_command(files: Workspace) -> str | None:
    """What began a distillation that is not over; None where there is none, or it does not say."""
    begun = readable_record(BegunDistilling, files.begun_distilling_path)
    return begun.command if begun else None


def _delete(path: Path) -> str:
    return f"delete {path.parent} and {AGAIN}"
