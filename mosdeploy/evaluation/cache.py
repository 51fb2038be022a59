"""A cache of losses on disk, so that a search that was killed does not compute them again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..record import Record, load_json, parse
from ..spaces.genes import ArchConfig
from ..storage import append_line, read_lines

Archs = Sequence[ArchConfig]
Losses = Callable[[Archs, Sequence[ArchConfig | None]], Iterable[float | None]]
"""From architectures, and an incumbent or None for each, to their losses in the same order."""


class BlockLosses(Record):
    """What was evaluated of one subnet."""

    nats: tuple[float, ...] = ()
    loss: float | None = None


Measure = Callable[[Archs, Sequence[BlockLosses | None]], Iterable[BlockLosses]]
"""Evaluates architectures, in order, one by one; each against the losses of its incumbent, if it
has one.
"""


class CachedLoss(BlockLosses):
    """One line of the cache."""

    inputs_sha256: str
    key: str
    incumbent: str | None = None


@dataclass
class EvaluationCache:
    """Losses of one supernet on one set of examples, kept in a file."""

    path: Path
    inputs_sha256: str
    num_early_stopped: int = field(default=0, init=False)
    _cached: dict[tuple[str, str | None], CachedLoss] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for number, line in enumerate(read_lines(self.path)[0], start=1):
            cached = self._read(line, f"{self.path}, line {number}")
            if cached is not None:
                self._cached[cached.key, cached.incumbent] = cached

    def wrap(self, measure: Measure) -> Losses:
        """Losses of whatever `measure` evaluates, from disk where they are known."""

        def losses(archs: Archs, incumbents: Sequence[ArchConfig | None]) -> Iterator[float | None]:
            known = [
                self._find(arch, incumbent)
                for arch, incumbent in zip(archs, incumbents, strict=True)
            ]
            new = [i for i, cached in enumerate(known) if cached is None]
            # lazily: each loss is on disk before the next one is computed
            evaluated = iter(
                measure([archs[i] for i in new], [self._blocks(incumbents[i]) for i in new])
            )
            for arch, incumbent, cached in zip(archs, incumbents, known, strict=True):
                if cached is None:
                    cached = self._store(arch, incumbent, next(evaluated))
                # a line that names an incumbent is one of an evaluation that stopped early
                self.num_early_stopped += cached.incumbent is not None
                yield cached.loss

        return losses

    def _read(self, line: bytes, source: str) -> CachedLoss | None:
        """Parse one line; None for one that was made from something else, whatever its fields."""
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

    def _find(self, arch: ArchConfig, incumbent: ArchConfig | None) -> CachedLoss | None:
        # what was answered against this incumbent before; against another one the evaluation
        # might have gone on
        stopped = None if incumbent is None else self._cached.get((arch.key, incumbent.key))
        # a loss over all blocks is the same whatever the incumbent
        return stopped or self._cached.get((arch.key, None))

    def _blocks(self, incumbent: ArchConfig | None) -> BlockLosses | None:
        # only a full evaluation serves: one that stopped early lacks the later blocks
        return None if incumbent is None else self._cached.get((incumbent.key, None))

    def _store(
        self, arch: ArchConfig, incumbent: ArchConfig | None, evaluated: BlockLosses
    ) -> CachedLoss:
        # neither a mean nor blocks: the loss is not finite, which no incumbent has to do with
        stopped_early = evaluated.loss is None and bool(evaluated.nats)
        cached = CachedLoss(
            inputs_sha256=self.inputs_sha256,
            key=arch.key,
            nats=evaluated.nats,
            loss=evaluated.loss,
            incumbent=incumbent.key if incumbent is not None and stopped_early else None,
        )
        # on disk before the search uses it: a search that is started again after a kill makes the
        # same choices
        append_line(self.path, cached)
        self._cached[cached.key, cached.incumbent] = cached
        return cached
