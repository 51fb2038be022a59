"""Losses on disk, so that a search that was killed does not compute them again."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..record import Record, load_json, parse
from ..spaces.genes import ArchConfig
from ..storage import append_line, read_lines
from .constraints import LossesOf


class CachedLoss(Record):
    """One line of the cache; a loss that is not finite is None."""

    inputs_sha256: str
    key: str
    loss: float | None


@dataclass
class LossCache:
    """Losses of one supernet on one set of examples, kept in a file."""

    path: Path
    inputs_sha256: str
    _losses: dict[str, float | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for number, line in enumerate(read_lines(self.path)[0], start=1):
            cached = self._read(line, f"{self.path}, line {number}")
            if cached is not None:
                self._losses[cached.key] = cached.loss

    def wrap(self, measure: Callable[[ArchConfig], float]) -> LossesOf:
        """Return losses that `measure` computes only where they are not known."""

        def losses(archs: Sequence[ArchConfig]) -> Iterator[float | None]:
            for arch in archs:
                if arch.key not in self._losses:
                    self._store(arch.key, measure(arch))
                yield self._losses[arch.key]

        return losses

    def _store(self, key: str, loss: float) -> None:
        finite = loss if math.isfinite(loss) else None
        # on disk before the search uses it: after a kill the search makes the same choices
        append_line(self.path, CachedLoss(inputs_sha256=self.inputs_sha256, key=key, loss=finite))
        self._losses[key] = finite

    def _read(self, line: bytes, source: str) -> CachedLoss | None:
        """Parse one line; None for one of another supernet or version."""
        try:
            data = load_json(line)
            # before the other fields are parsed: a line of another version may lack some
            if isinstance(data, dict) and data.get("inputs_sha256") != self.inputs_sha256:
                return None
            return parse(CachedLoss, data, source)
        except (ValueError, RecursionError, ConfigError) as error:
            raise StaleInputError(
                f"{source} is corrupt ({error}); delete that line and run `mosdeploy search` again"
            ) from error
