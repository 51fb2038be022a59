"""Evaluation by several processes: each takes a share of every batch of subnets."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from ..record import Record
from ..spaces import AnyArch
from ..spaces.genes import ArchConfig
from .cache import BlockLosses, Measure

T = TypeVar("T")

SHARE = 4
"""Subnets that one process evaluates for one request."""


class Messages(Protocol):
    """Which process this is, and how it exchanges text with the others."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def timeout_s(self) -> float: ...

    def publish(self, name: str, text: str) -> None:
        """Leave a text for the others under a name that is used once."""

    def wait_for(self, name: str, timeout_s: float = ...) -> str:
        """The text that another process publishes; raises MosdeployError if it does not come in
        time.
        """

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `size`-th item, beginning with the `rank`-th."""


class EvalRequest(Record):
    """Subnets to evaluate, each with the losses of its incumbent or None; without any, there are no
    more requests.
    """

    archs: tuple[AnyArch, ...] = ()
    incumbents: tuple[BlockLosses | None, ...] = ()


class EvalResponse(Record):
    """Losses of one process's share of a request, in order."""

    losses: tuple[BlockLosses, ...]


class DistributedEvaluator:
    """Evaluates subnets with all processes; each process has one."""

    def __init__(self, messages: Messages, measure: Measure) -> None:
        self._messages = messages
        self._measure = measure
        # all processes count alike, so that each text has a name of its own in the store
        self._num_requests = 0

    def measure(
        self, archs: Sequence[ArchConfig], incumbents: Sequence[BlockLosses | None]
    ) -> Iterable[BlockLosses]:
        """Evaluate subnets with all processes, in order; called on the first process."""
        if self._messages.size == 1:
            return self._measure(archs, incumbents)
        return self._in_parts(archs, incumbents)

    def shutdown(self) -> None:
        """Let `serve` return on the other processes; called on the first process."""
        self._messages.publish(self._request_name, EvalRequest().model_dump_json())

    def serve(self) -> None:
        """Evaluate a share of each request until there are no more; called on every process but the
        first.
        """
        # a request without architectures is that of shutdown
        while (request := self._next_request()).archs:
            response = EvalResponse(losses=self._own_share(request))
            self._messages.publish(
                self._response_name(self._messages.rank), response.model_dump_json()
            )
            self._num_requests += 1

    def _in_parts(
        self, archs: Sequence[ArchConfig], incumbents: Sequence[BlockLosses | None]
    ) -> Iterator[BlockLosses]:
        """Results of requests of a few subnets a process, so that those of a search that is killed
        are on disk but for the last few.
        """
        stride = SHARE * self._messages.size
        for start in range(0, len(archs), stride):
            part = slice(start, start + stride)
            yield from self._request(
                EvalRequest(archs=tuple(archs[part]), incumbents=tuple(incumbents[part]))
            )

    def _request(self, request: EvalRequest) -> Iterator[BlockLosses]:
        """Publish a request, evaluate the own share and collect those of the others."""
        # before the own share, so that all processes evaluate at the same time
        self._messages.publish(self._request_name, request.model_dump_json())
        shares = [self._own_share(request)]
        for rank in range(1, self._messages.size):
            # shares are of nearly equal size: a process that takes so much longer than this one is
            # gone
            text = self._messages.wait_for(self._response_name(rank), self._messages.timeout_s)
            shares.append(EvalResponse.model_validate_json(text).losses)
        self._num_requests += 1
        # item i went to process i % size as its item i // size
        for i in range(len(request.archs)):
            yield shares[i % self._messages.size][i // self._messages.size]

    def _next_request(self) -> EvalRequest:
        # without a limit of its own: the first process may be measuring on a device meanwhile
        return EvalRequest.model_validate_json(self._messages.wait_for(self._request_name))

    def _own_share(self, request: EvalRequest) -> tuple[BlockLosses, ...]:
        # both lists are dealt alike, so that each architecture keeps its incumbent
        archs = self._messages.share(request.archs)
        incumbents = self._messages.share(request.incumbents)
        return tuple(self._measure(archs, incumbents))

    @property
    def _request_name(self) -> str:
        return f"evaluation {self._num_requests}"

    def _response_name(self, rank: int) -> str:
        return f"evaluation {self._num_requests} of {rank}"
