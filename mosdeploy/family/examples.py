"""A family's data: the user's examples, what turns them into ids, and how they are scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..export.parity import Shortcut


class TaskData(Protocol):
    """The user's examples, as text, in three splits, and how many were dropped for which reason."""

    @property
    def train(self) -> Sequence[Any]:
        """Training examples."""

    @property
    def valid(self) -> Sequence[Any]:
        """Validation examples."""

    @property
    def test(self) -> Sequence[Any]:
        """Test examples; may be empty."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reason to count."""

    @property
    def sha256(self) -> str:
        """Digest of the three splits."""


class Tokenizer(Protocol):
    """Text to ids."""

    @property
    def vocab_size(self) -> int:
        """Number of different ids."""


@dataclass(frozen=True)
class ScoredExamples:
    """Examples on which networks are compared by the family's metrics.

    Attributes
    ----------
    inputs, input_ids
        The inputs as text and as ids.
    predict
        A subnet in torch and input ids to answers: token ids, or scores.
    decode
        An answer to its text.
    metrics
        All outputs, as text, to metrics by name; the first one counts.
    metric
        Name of that by which a bundle is compared with torch.
    setup
        How outputs are made: `greedy`, `beam 4`.
    shortcut
        What `predict` leaves out, if it does; its `exact` takes what `predict` takes.
    line_metrics
        `metrics` of the lines that a bundle answers the inputs with; None where these are the same
        texts.
    """

    inputs: Sequence[str]
    input_ids: Sequence[Sequence[int]]
    predict: Callable[[Any, list[list[int]]], Sequence[Any]]
    decode: Callable[[Any], str]
    metrics: Callable[[list[str]], dict[str, float]]
    metric: str
    setup: str
    shortcut: "Shortcut | None" = None
    line_metrics: Callable[[list[str]], dict[str, float]] | None = None

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.inputs)

    def evaluate(self, subnet: Any) -> dict[str, float]:
        """Metrics of a subnet by name."""
        outputs = self.predict(subnet, [list(ids) for ids in self.input_ids])
        return self.metrics([self.decode(answer) for answer in outputs])
