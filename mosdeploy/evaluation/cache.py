"""Losses that a search has paid for: one line each, so that a killed search replays them.

In: something that measures subnets and what its values depend on. Out: losses, computed once an architecture over all
runs. This file knows neither the search nor the network.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..record import Record, parse
from ..spaces.translation import ArchConfig
from ..storage import append_line, read_lines

Archs = Sequence[ArchConfig]
Losses = Callable[[Archs, Sequence[ArchConfig | None]], Iterable[float | None]]
"""Losses of architectures, in order, one by one. Each has a rival or none: None stands for a subnet that was given up,
being clearly worse than its rival, and for a loss that is not finite."""


class BlockLosses(Record):
    """What was read of one subnet: its loss on blocks of validation sentences, in nats, and its mean loss a token.

    The mean is None where not all blocks were read, so that a part can't pass for the whole; a loss that is not finite
    has no blocks either.
    """

    nats: tuple[float, ...] = ()
    loss: float | None = None


Measure = Callable[[Archs, Sequence[BlockLosses | None]], Iterable[BlockLosses]]
"""Measures architectures, in order, one by one; each against the losses of its rival, if it has one."""


class PaidLoss(BlockLosses):
    """One line of the cache; `rival` is the key of the architecture that this one was given up for."""

    made_from: str
    key: str
    rival: str | None = None


@dataclass
class LossCache:
    """Losses on disk, so that a search that was killed replays what it had evaluated without computing it again.

    Lines that were made from something else (another supernet, another set of sentences) are ignored. A subnet that was
    given up counts as known against the same rival only. One writer at a time: the caller holds
    `workspace.locked(path, ...)`.

    Attributes
    ----------
    path
        JSON Lines, forced to disk a line at a time.
    made_from
        Fingerprint of everything that a loss depends on besides the architecture.
    num_hits
        How many losses came from disk.
    num_given_up
        How many of those that were asked for had been, or were now, given up.
    """

    path: Path
    made_from: str
    num_hits: int = 0
    num_given_up: int = 0
    _paid: dict[tuple[str, str | None], PaidLoss] = field(default_factory=dict)

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
                self._paid[paid.key, paid.rival] = paid

    def wrap(self, measure: Measure) -> Losses:
        """The losses of what is measured, each measured once over all runs."""

        def losses(archs: Archs, rivals: Sequence[ArchConfig | None]) -> Iterator[float | None]:
            known = [self._find(arch, rival) for arch, rival in zip(archs, rivals, strict=True)]
            new = [i for i, paid in enumerate(known) if paid is None]
            read = iter(measure([archs[i] for i in new], [self._blocks(rivals[i]) for i in new]))
            for arch, rival, paid in zip(archs, rivals, known, strict=True):
                if paid is None:
                    paid = self._pay(arch, rival, next(read))
                else:
                    self.num_hits += 1
                self.num_given_up += paid.rival is not None
                yield paid.loss

        return losses

    def _find(self, arch: ArchConfig, rival: ArchConfig | None) -> PaidLoss | None:
        given_up = self._paid.get((arch.key, rival.key)) if rival is not None else None
        return self._paid.get((arch.key, None), given_up)

    def _blocks(self, rival: ArchConfig | None) -> BlockLosses | None:
        return None if rival is None else self._paid.get((rival.key, None))

    def _pay(self, arch: ArchConfig, rival: ArchConfig | None, read: BlockLosses) -> PaidLoss:
        given_up = rival is not None and read.loss is None and bool(read.nats)
        paid = PaidLoss(
            made_from=self.made_from,
            key=arch.key,
            nats=read.nats,
            loss=read.loss,
            rival=rival.key if rival is not None and given_up else None,
        )
        append_line(self.path, paid)
        self._paid[paid.key, paid.rival] = paid
        return paid
