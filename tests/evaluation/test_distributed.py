"""DistributedContext that measure subnets together, here as threads around one board: the order,
and the end.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
from walking import RUN_FILE

from mosdeploy.config.translation import RunConfig
from mosdeploy.errors import MosdeployError
from mosdeploy.evaluation.cache import BlockLosses
from mosdeploy.evaluation.distributed import DistributedEvaluator
from mosdeploy.record import parse
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.training.distributed import SINGLE_PROCESS, DistributedContext


class Board:
    """KeyValueStore in memory; as torch's Store, it raises when one does not come in time."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: str) -> None:
        with self._changed:
            self._words[key] = value
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        return self._words[key].encode()

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        with self._changed:
            if not self._changed.wait_for(
                lambda: all(key in self._words for key in keys), timeout.total_seconds()
            ):
                raise RuntimeError("timed out")


@pytest.fixture(scope="module")
def archs() -> list[TranslationArch]:
    import tomllib

    space, rng = (
        parse(RunConfig, tomllib.loads(RUN_FILE), "walking").space,
        np.random.default_rng(0),
    )
    return [space.sample(rng) for _ in range(29)]


class Meter:
    """Measures a subnet by its key; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[TranslationArch] = []

    def __call__(
        self, archs: Sequence[TranslationArch], incumbents: Sequence[BlockLosses | None]
    ) -> Iterator[BlockLosses]:
        for arch, incumbent in zip(archs, incumbents, strict=True):
            self.asked.append(arch)
            yield BlockLosses(
                nats=(float(int(arch.key, 16) % 1000),), loss=None if incumbent else 1.0
            )


def test_three_ranks_find_what_one_finds_and_each_does_its_share(
    archs: list[TranslationArch],
) -> None:
    incumbents = [
        BlockLosses(nats=(1.0,), loss=1.0) if i % 4 == 0 else None for i in range(len(archs))
    ]
    wanted = list(DistributedEvaluator(SINGLE_PROCESS, Meter()).measure(archs, incumbents))
    board, meters = Board(), [Meter() for _ in range(3)]
    crews = [
        DistributedEvaluator(DistributedContext(rank, 3, timeout_s=30.0, words=board), meters[rank])
        for rank in range(3)
    ]
    with ThreadPoolExecutor() as threads:
        followers = [threads.submit(crew.serve) for crew in crews[1:]]
        assert list(crews[0].measure(archs[:20], incumbents[:20])) == wanted[:20]
        assert list(crews[0].measure(archs[20:], incumbents[20:])) == wanted[20:]
        crews[0].shutdown()
        for follower in followers:
            follower.result(timeout=30)
    assert sorted(len(meter.asked) for meter in meters) == [9, 10, 10]
    assert sorted(arch.key for meter in meters for arch in meter.asked) == sorted(
        arch.key for arch in archs
    )


def test_a_rank_that_does_not_answer_is_given_up(archs: list[TranslationArch]) -> None:
    crew = DistributedEvaluator(DistributedContext(0, 2, timeout_s=0.1, words=Board()), Meter())
    with pytest.raises(
        MosdeployError, match=r"rank 0 of 2 lost touch .* silent for 0\.1 s \(timed out\)"
    ):
        list(crew.measure(archs, [None] * len(archs)))


def test_alone_each_subnet_is_given_at_once(archs: list[TranslationArch]) -> None:
    meter = Meter()
    next(iter(DistributedEvaluator(SINGLE_PROCESS, meter).measure(archs, [None] * len(archs))))
    assert len(meter.asked) == 1
