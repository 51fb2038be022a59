"""Subnets of a search, measured by all processes that torchrun started: each takes a share of every
round.

In: what measures subnets, and the ranks. Out: the same on the first rank, which alone searches; the
others measure what it asks for until it dismisses them. What is known is handed on in order, so
that a search takes the way of one process.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..record import Record
from ..spaces.genes import ArchConfig
from .cache import BlockLosses, Measure

if TYPE_CHECKING:
    from ..training.distributed import DistributedContext

SHARE = 4
"""Subnets that a rank measures in one round."""


class EvalRequest(Record):
    """Subnets to be measured, each with the losses of its incumbent or without; none: the search is
    over.
    """

    archs: tuple[ArchConfig, ...] = ()
    incumbents: tuple[BlockLosses | None, ...] = ()


class EvalResponse(Record):
    """What a rank found of its share, in order."""

    losses: tuple[BlockLosses, ...]


class DistributedEvaluator:
    """The ranks of a search."""

    def __init__(self, ranks: "DistributedContext", measure: Measure) -> None:
        self._ranks, self._measure, self._num_rounds = ranks, measure, 0

    def measure(
        self, archs: Sequence[ArchConfig], incumbents: Sequence[BlockLosses | None]
    ) -> Iterable[BlockLosses]:
        """Measure subnets with all ranks, in order; the first rank's part. One that is alone gives
        each at once.

        Raises
        ------
        MosdeployError
            If another rank is gone, or is silent for too long.
        """
        if self._ranks.size == 1:
            return self._measure(archs, incumbents)
        return self._rounds(archs, incumbents)

    def _rounds(
        self, archs: Sequence[ArchConfig], incumbents: Sequence[BlockLosses | None]
    ) -> Iterator[BlockLosses]:
        stride = SHARE * self._ranks.size
        for start in range(0, len(archs), stride):
            part = slice(start, start + stride)
            yield from self._lead(
                EvalRequest(archs=tuple(archs[part]), incumbents=tuple(incumbents[part]))
            )

    def shutdown(self) -> None:
        """Let the other ranks go."""
        self._ranks.say(f"round {self._num_rounds}", EvalRequest().model_dump_json())

    def serve(self) -> None:
        """Measure a share of each round, until dismissed; the part of every rank but the first."""
        while (
            asked := EvalRequest.model_validate_json(self._ranks.hear(f"round {self._num_rounds}"))
        ).archs:
            losses = EvalResponse(losses=self._own_share(asked))
            self._ranks.say(
                f"round {self._num_rounds} of {self._ranks.rank}", losses.model_dump_json()
            )
            self._num_rounds += 1

    def _lead(self, asked: EvalRequest) -> Iterator[BlockLosses]:
        self._ranks.say(f"round {self._num_rounds}", asked.model_dump_json())
        shares = [self._own_share(asked)]
        for rank in range(1, self._ranks.size):
            text = self._ranks.hear(f"round {self._num_rounds} of {rank}", self._ranks.timeout_s)
            shares.append(EvalResponse.model_validate_json(text).losses)
        self._num_rounds += 1
        for i in range(len(asked.archs)):
            yield shares[i % self._ranks.size][i // self._ranks.size]

    def _own_share(self, asked: EvalRequest) -> tuple[BlockLosses, ...]:
        return tuple(
            self._measure(self._ranks.share(asked.archs), self._ranks.share(asked.incumbents))
        )
