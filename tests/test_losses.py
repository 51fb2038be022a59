import math
from pathlib import Path

import numpy as np
import pytest

from mosdeploy.config import RunConfig, SearchConfig
from mosdeploy.errors import StaleInputError
from mosdeploy.losses import LossCache
from mosdeploy.records import Limits
from mosdeploy.schema import load_toml
from mosdeploy.search import Cost, evolve

CONFIG = SearchConfig(population=12, parents=4, mutations=6, crossovers=6, iterations=3)


@pytest.fixture(scope="module")
def space():
    return load_toml(RunConfig, Path(__file__).parents[1] / "mosdeploy" / "recipes" / "tiny.toml").space


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "quality.jsonl"


def run(space, loss):
    def cost(arch):
        return Cost(space.num_parameters(arch, 100), 0)

    return evolve(space, CONFIG, Limits(), loss=loss, cost=cost)


class CountingLoss:
    def __init__(self, space, fail_after=10**9):
        self.space, self.fail_after, self.calls = space, fail_after, 0

    def __call__(self, arch):
        if self.calls == self.fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        return 1 / self.space.num_parameters(arch, 100)


def test_a_search_that_was_killed_goes_on_and_pays_nothing_twice(space, path):
    whole = CountingLoss(space)
    expected = run(space, whole)
    killed, resumed, replayed = CountingLoss(space, fail_after=20), CountingLoss(space), CountingLoss(space)
    with pytest.raises(KeyboardInterrupt):
        run(space, LossCache(path, "net").wrap(killed))
    assert run(space, LossCache(path, "net").wrap(resumed)) == expected
    assert killed.calls + resumed.calls == whole.calls
    cache = LossCache(path, "net")
    assert run(space, cache.wrap(replayed)) == expected
    assert replayed.calls == 0
    assert cache.num_hits == whole.calls


def test_losses_of_another_supernet_are_not_used(space, path):
    LossCache(path, "old net").wrap(lambda arch: 1.0)(space.largest)
    assert LossCache(path, "new net").wrap(lambda arch: 2.0)(space.largest) == 2.0
    assert LossCache(path, "old net").wrap(lambda arch: 3.0)(space.largest) == 1.0


def test_a_loss_that_is_not_finite_is_remembered_too(space, path):
    LossCache(path, "net").wrap(lambda arch: math.inf)(space.largest)
    assert not math.isfinite(LossCache(path, "net").wrap(lambda arch: 1.0)(space.largest))


def test_a_torn_last_line_costs_one_loss(space, path):
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(3)]
    loss = LossCache(path, "net").wrap(CountingLoss(space))
    values = [loss(arch) for arch in archs]
    path.write_bytes(path.read_bytes()[:-5])
    again = CountingLoss(space)
    cached = LossCache(path, "net").wrap(again)
    assert [cached(arch) for arch in archs] == values
    assert again.calls == 1
    assert len(path.read_bytes().splitlines()) == 3


def test_a_corrupt_line_names_file_and_line(space, path):
    loss = LossCache(path, "net").wrap(CountingLoss(space))
    loss(space.largest), loss(space.smallest)
    first, second = path.read_bytes().splitlines()
    path.write_bytes(first[:-4] + b"\n" + second + b"\n")
    with pytest.raises(StaleInputError, match=r"quality\.jsonl, line 1.*delete that line.*mosdeploy search"):
        LossCache(path, "net")
