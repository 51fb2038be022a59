"""Losses that a search has paid for: one line each, so that a killed search replays them.

In: something that measures subnets and what its values depend on. Out: losses, computed once an
architecture over all runs. This file knows neither the search nor the network.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..record import Record, parse
from ..spaces.genes import ArchConfig
from ..storage import append_line, read_lines

Archs = Sequence[ArchConfig]
Losses = Callable[[Archs, Sequence[ArchConfig | None]], Iterable[float | None]]
"""Losses of architectures, in order, one by one. Each has a incumbent or none: None stands for a
subnet that was given up, being clearly worse than its incumbent, and for a loss that is not finite.
"""


class BlockLosses(Record):
    """What was read of one subnet: its loss on blocks of validation sentences, in nats, and its
    mean loss a token.

    The mean is None where not all blocks were read, so that a part can't pass for the whole; a loss
    that is not finite has no blocks either.
    """

    nats: tuple[float, ...] = ()
    loss: float | None = None


Measure = Callable[[Archs, Sequence[BlockLosses | None]], Iterable[BlockLosses]]
"""Measures architectures, in order, one by one; each against the losses of its incumbent, if it has
one.
"""


class CachedLoss(BlockLosses):
    """One line of the cache; `incumbent` is the key of the architecture that this one was given up
    for.
    """

    inputs_sha256: str
    key: str
    incumbent: str | None = None


@dataclass
class EvaluationCache:
    """Losses on disk, so that a search that was killed replays what it had evaluated without
    computing it again.

    Lines that were made from something else (another supernet, another set of sentences) are
    ignored. A subnet that was given up counts as known against the same incumbent only. One writer
    at a time: the caller holds `workspace.locked(path, ...)`.

    Attributes
    ----------
    path
        JSON Lines, forced to disk a line at a time.
    inputs_sha256
        Fingerprint of everything that a loss depends on besides the architecture.
    num_hits
        How many losses came from disk.
    num_early_stopped
        How many of those that were asked for had been, or were now, given up.
    """

    path: Path
    inputs_sha256: str
    num_hits: int = 0
    num_early_stopped: int = 0
    _cached: dict[tuple[str, str | None], CachedLoss] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, line in enumerate(read_lines(self.path)[0], start=1):
            source = f"{self.path}, line {number}"
            try:
                cached = parse(CachedLoss, json.loads(line), source)
            except (ValueError, ConfigError) as error:
                raise StaleInputError(
                    f"{source} is corrupt ({error}); delete that line and run `mosdeploy search` again"
                ) from error
            if cached.inputs_sha256 == self.inputs_sha256:
                self._cached[cached.key, cached.incumbent] = cached

    def wrap(self, measure: Measure) -> Losses:
        """The losses of what is measured, each measured once over all runs."""

        def losses(archs: Archs, incumbents: Sequence[ArchConfig | None]) -> Iterator[float | None]:
            known = [
                self._find(arch, incumbent)
                for arch, incumbent in zip(archs, incumbents, strict=True)
            ]
            new = [i for i, cached in enumerate(known) if cached is None]
            read = iter(
                measure([archs[i] for i in new], [self._blocks(incumbents[i]) for i in new])
            )
            for arch, incumbent, cached in zip(archs, incumbents, known, strict=True):
                if cached is None:
                    cached = self._store(arch, incumbent, next(read))
                else:
                    self.num_hits += 1
                self.num_early_stopped += cached.incumbent is not None
                yield cached.loss

        return losses

    def _find(self, arch: ArchConfig, incumbent: ArchConfig | None) -> CachedLoss | None:
        stopped_early = (
            self._cached.get((arch.key, incumbent.key)) if incumbent is not None else None
        )
        return self._cached.get((arch.key, None), stopped_early)

    def _blocks(self, incumbent: ArchConfig | None) -> BlockLosses | None:
        return None if incumbent is None else self._cached.get((incumbent.key, None))

    def _store(
        self, arch: ArchConfig, incumbent: ArchConfig | None, read: BlockLosses
    ) -> CachedLoss:
        stopped_early = incumbent is not None and read.loss is None and bool(read.nats)
        cached = CachedLoss(
            inputs_sha256=self.inputs_sha256,
            key=arch.key,
            nats=read.nats,
            loss=read.loss,
            incumbent=incumbent.key if incumbent is not None and stopped_early else None,
        )
        append_line(self.path, cached)
        self._cached[cached.key, cached.incumbent] = cached
        return cached
