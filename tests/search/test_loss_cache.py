"""Losses on disk: nothing is computed twice, and what is damaged is named."""

import json
import math

import numpy as np
import pytest
from search_problem import MEDIUM, num_parameters

from mosdeploy.config.sections import SearchConfig
from mosdeploy.errors import StaleInputError
from mosdeploy.records import Limits
from mosdeploy.search import Cost, SearchOracle, evolve, widen_ffn
from mosdeploy.search.loss_cache import LossCache

CONFIG = SearchConfig(population=12, parents=4, mutations=6, crossovers=6, iterations=3)
SMALLEST = MEDIUM.smallest
LARGEST = MEDIUM.largest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "quality.jsonl"


class Counting:
    """A made-up loss: weights help, a deep encoder hurts."""

    def __init__(self, fail_after=10**9):
        self.fail_after = fail_after
        self.calls = 0

    def __call__(self, arch):
        if self.calls == self.fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        return 1e5 / num_parameters(MEDIUM, arch) + len(arch.encoder_layers)


def cached(path, measure, inputs_sha256="net"):
    return LossCache(path, inputs_sha256).wrap(measure)


def run(losses):
    def cost(arch):
        return Cost(num_parameters(MEDIUM, arch), 0, 0, 0)

    oracle = SearchOracle(losses, cost)
    limits = Limits(max_parameters=100_000)
    return widen_ffn(evolve(MEDIUM, CONFIG, limits, oracle), MEDIUM, limits, oracle, 3)


def test_a_killed_search_goes_on_and_computes_nothing_twice(path):
    whole = Counting()
    expected = run(cached(path.with_name("whole"), whole))
    killed = Counting(fail_after=20)
    with pytest.raises(KeyboardInterrupt):
        run(cached(path, killed))
    # each is on disk before the next one is computed
    assert len(path.read_bytes().splitlines()) == 20
    resumed = Counting()
    assert run(cached(path, resumed)) == expected
    assert killed.calls + resumed.calls == whole.calls
    assert path.read_bytes() == path.with_name("whole").read_bytes()
    replayed = Counting()
    assert run(cached(path, replayed)) == expected
    assert replayed.calls == 0


def test_losses_of_another_supernet_are_not_used(path):
    def loss(inputs_sha256, value):
        (found,) = cached(path, lambda _: value, inputs_sha256)([LARGEST])
        return found

    path.parent.mkdir()
    path.write_text('{"inputs_sha256": "another version", "nats": [1.5]}\n')
    assert loss("old net", 1.0) == 1.0
    assert loss("new net", 2.0) == 2.0
    assert loss("old net", 3.0) == 1.0


def test_a_loss_that_is_not_finite_is_remembered_too(path):
    assert list(cached(path, lambda _: math.nan)([LARGEST])) == [None]
    assert list(cached(path, lambda _: 1.0)([LARGEST])) == [None]


def test_a_torn_last_line_costs_one_loss(path):
    rng = np.random.default_rng(0)
    archs = [MEDIUM.sample(rng) for _ in range(3)]
    values = list(cached(path, Counting())(archs))
    path.write_bytes(path.read_bytes()[:-5])
    again = Counting()
    assert list(cached(path, again)(archs)) == values
    assert again.calls == 1
    assert json.loads(path.read_text().splitlines()[-1]) == {
        "inputs_sha256": "net",
        "key": archs[-1].key,
        "loss": values[-1],
    }


@pytest.mark.parametrize(
    "corrupt",
    [
        b'{"loss": 1.0',
        b"[]",
        b'{"inputs_sha256": "net"}',
        b'{"inputs_sha256": "net", "key": "a", "loss": 2.0, "loss": 1.0}',
    ],
)
def test_a_corrupt_line_names_file_and_line(path, corrupt):
    path.parent.mkdir()
    path.write_bytes(corrupt + b"\n")
    with pytest.raises(StaleInputError, match=r"quality\.jsonl, line 1.*delete that line"):
        LossCache(path, "net")
