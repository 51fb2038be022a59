"""Losses that a search has paid for: one line each, so that a killed search replays them.

In: a loss callable and what its values depend on. Out: the same callable, computed once an architecture over all runs.
This file knows neither the search nor the network.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ConfigError, StaleInputError
from .schema import Record, parse
from .space import ArchConfig
from .workspace import append_line, read_lines

Loss = Callable[[ArchConfig], float]


class PaidLoss(Record):
    """One line of the cache; no loss where it was not finite."""

    made_from: str
    key: str
    loss: float | None


@dataclass
class LossCache:
    """Losses on disk, so that a search that was killed replays what it had evaluated without computing it again.

    Lines that were made from something else (another supernet, another set of sentences) are ignored. One writer
    at a time: the caller holds `workspace.locked(path, ...)`.

    Attributes
    ----------
    path
        JSON Lines, forced to disk a line at a time.
    made_from
        Fingerprint of everything that a loss depends on besides the architecture.
    num_hits
        How many losses came from disk.
    """

    path: Path
    made_from: str
    num_hits: int = 0
    _losses: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, line in enumerate(read_lines(self.path)[0], start=1):
            source = f"{self.path}, line {number}"
            try:
                paid = parse(PaidLoss, json.loads(line), source)
            except (ValueError, ConfigError) as error:
                raise StaleInputError(
                    f"{source} is corrupt ({error}); delete that line and run `mosdeploy search` again"
                ) from error
            if paid.made_from == self.made_from:
                self._losses[paid.key] = math.nan if paid.loss is None else paid.loss

    def wrap(self, loss: Loss) -> Loss:
        """The same loss, computed once an architecture over all runs."""

        def cached(arch: ArchConfig) -> float:
            if arch.key in self._losses:
                self.num_hits += 1
                return self._losses[arch.key]
            value = float(loss(arch))
            line = PaidLoss(made_from=self.made_from, key=arch.key, loss=value if math.isfinite(value) else None)
            append_line(self.path, line)
            self._losses[arch.key] = value
            return value

        return cached
