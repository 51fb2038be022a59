"""What a search tells while it runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..run_folder.context import Progress
from ..spaces.genes import ArchConfig

if TYPE_CHECKING:
    from ..evaluation.cache import Losses


@dataclass
class ShownSearch:
    """Progress of a search, also within an iteration, which may take minutes."""

    progress: Progress
    num_iterations: int
    iteration: int = 0
    note: str = ""

    def show(self, progress: Any) -> None:
        """Tell that an iteration is over."""
        self.iteration = progress.iteration
        self.tell_of(progress.best_loss, progress.num_evaluated)

    def tell_of(self, best_loss: float, num_evaluated: int) -> None:
        """Tell what was found so far."""
        self.note = f"best loss {best_loss:.4f}, {num_evaluated} subnets"
        self._tell("")

    def counted(self, losses: "Losses") -> "Losses":
        """The same losses; each of the next iteration's is told of, but for the last, after which
        the iteration is over.
        """

        def told(
            archs: Sequence[ArchConfig], incumbents: Sequence[ArchConfig | None]
        ) -> Iterator[float | None]:
            for done, loss in enumerate(losses(archs, incumbents), 1):
                if done < len(archs):
                    self._tell(f"{done} of {len(archs)} more")
                yield loss

        return told

    def _tell(self, more: str) -> None:
        note = ", ".join(x for x in (self.note, more) if x)
        self.progress.update("search", self.iteration, self.num_iterations, note)
