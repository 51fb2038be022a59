"""Processes that evaluate together, here as threads around one dictionary."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pytest
from example_spaces import SMALL

from mosdeploy.errors import MosdeployError
from mosdeploy.evaluation.cache import BlockLosses
from mosdeploy.evaluation.distributed import DistributedEvaluator, EvalRequest, EvalResponse
from mosdeploy.spaces.genes import ArchConfig

T = TypeVar("T")


@dataclass
class Store:
    texts: dict[str, str] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)


@dataclass
class Thread:
    """What one process is and says."""

    rank: int = 0
    size: int = 1
    timeout_s: float = 30.0
    store: Store = field(default_factory=Store)

    def publish(self, name: str, text: str) -> None:
        with self.store.changed:
            assert name not in self.store.texts
            self.store.texts[name] = text
            self.store.changed.notify_all()

    def wait_for(self, name: str, timeout_s: float = 30.0) -> str:
        with self.store.changed:
            if not self.store.changed.wait_for(lambda: name in self.store.texts, timeout_s):
                raise MosdeployError(f"silent for {timeout_s:g} s")
            return self.store.texts[name]

    def share(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.rank :: self.size]


class Meter:
    """Loses what the architecture's key says; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ArchConfig] = []

    def __call__(
        self, archs: Sequence[ArchConfig], incumbents: Sequence[BlockLosses | None]
    ) -> Iterator[BlockLosses]:
        for arch, incumbent in zip(archs, incumbents, strict=True):
            self.asked.append(arch)
            nats = (float(int(arch.key, 16) % 1000),)
            yield BlockLosses(nats=nats, loss=None if incumbent else 1.0)


@pytest.fixture(scope="module")
def archs() -> list[ArchConfig]:
    rng = np.random.default_rng(0)
    return [SMALL.sample(rng) for _ in range(29)]


def test_three_processes_find_what_one_finds(archs: list[ArchConfig]) -> None:
    incumbent = BlockLosses(nats=(1.0,), loss=1.0)
    incumbents = [incumbent if i % 4 == 0 else None for i in range(len(archs))]
    wanted = list(DistributedEvaluator(Thread(), Meter()).measure(archs, incumbents))
    store = Store()
    meters = [Meter() for _ in range(3)]
    evaluators = [
        DistributedEvaluator(Thread(rank, 3, store=store), meters[rank]) for rank in range(3)
    ]
    with ThreadPoolExecutor() as threads:
        others = [threads.submit(evaluator.serve) for evaluator in evaluators[1:]]
        assert list(evaluators[0].measure(archs[:20], incumbents[:20])) == wanted[:20]
        assert list(evaluators[0].measure(archs[20:], incumbents[20:])) == wanted[20:]
        evaluators[0].shutdown()
        for other in others:
            other.result(timeout=30)
    assert sorted(len(meter.asked) for meter in meters) == [9, 10, 10]
    asked = [arch.key for meter in meters for arch in meter.asked]
    assert sorted(asked) == sorted(arch.key for arch in archs)


def test_a_process_that_does_not_answer_ends_it(archs: list[ArchConfig]) -> None:
    evaluator = DistributedEvaluator(Thread(size=2, timeout_s=0.1), Meter())
    with pytest.raises(MosdeployError, match=r"silent for 0\.1 s"):
        list(evaluator.measure(archs, [None] * len(archs)))


def test_alone_each_result_comes_at_once(archs: list[ArchConfig]) -> None:
    meter = Meter()
    next(iter(DistributedEvaluator(Thread(), meter).measure(archs, [None] * len(archs))))
    assert len(meter.asked) == 1


def test_requests_and_responses_there_and_back(archs: list[ArchConfig]) -> None:
    losses = BlockLosses(nats=(0.1, 1 / 3), loss=0.7)
    request = EvalRequest(archs=tuple(archs[:2]), incumbents=(losses, None))
    assert EvalRequest.model_validate_json(request.model_dump_json()) == request
    response = EvalResponse(losses=(losses,))
    assert EvalResponse.model_validate_json(response.model_dump_json()) == response
