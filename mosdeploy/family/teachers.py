"""What a family's networks learn from besides the user's targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .examples import ScoredExamples

if TYPE_CHECKING:
    from ..data.batches import Dataset
    from ..records import Scores
    from ..spaces.genes import ArchConfig
    from ..supernet.elastic import Subnet
    from ..supernet.supernet import Supernet
    from ..training.log import LogLine


class Teacher(Protocol):
    """A trained network that all subnets learn from; as a rule the supernet starts from it."""

    @property
    def is_largest(self) -> bool:
        """Whether it is a network of the space's largest architecture, whose parts subnets are.
        Otherwise it was given, and the supernet starts from other weights.
        """

    @property
    def weights_sha256(self) -> str:
        """Of the weights that its parts have, and that the supernet starts from."""

    def label(self, dataset: "Dataset", examples: Sequence[Any]) -> "Dataset":
        """The same examples with the teacher's outputs, which their losses then count.

        Parameters
        ----------
        dataset, examples
            Examples as token ids and as they are.
        """

    def supernet(self, seed: int) -> "Supernet":
        """A supernet to train; its largest subnet computes what the teacher computes, if that is of
        the largest architecture.
        """

    def subnet(self, arch: "ArchConfig") -> "Subnet":
        """The part of the weights that the supernet starts from that an architecture holds."""

    def scores(self, scored: ScoredExamples, examples: Sequence[Any], valid: "Dataset") -> "Scores":
        """Scores of a teacher that is given.

        Parameters
        ----------
        scored, examples
            The same examples, all of them.
        valid
            Labelled examples for the loss.
        """


@dataclass(frozen=True)
class TeacherTask:
    """What a teacher is made from.

    Attributes
    ----------
    config, root
        The run file and its folder.
    folder
        Where the teacher's files lie.
    train, valid
        Examples as token ids; None where a teacher that is finished is to be opened.
    data_sha256
        Fingerprint of the data, and of what of the run file it was read with.
    show
        Told how far the training is: a step's line of the log, total steps, seconds left.
    show_labels
        Told how many of all examples are labelled, where that takes long.
    """

    config: Any
    root: Path
    folder: Path
    data_sha256: str
    train: "Dataset | None" = None
    valid: "Dataset | None" = None
    show: "Callable[[LogLine, int, float], None] | None" = None
    show_labels: "Callable[[int, int], None] | None" = None
