import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from mosdeploy.config.sections import SearchConfig
from mosdeploy.config.translation import RunConfig
from mosdeploy.errors import StaleInputError
from mosdeploy.evaluation.cache import BlockLosses, EvaluationCache
from mosdeploy.evaluation.racing import should_stop
from mosdeploy.record import load_toml
from mosdeploy.records import Limits
from mosdeploy.search import Cost, evolve
from mosdeploy.spaces.costs import num_parameters

CONFIG = SearchConfig(population=12, parents=4, mutations=6, crossovers=6, iterations=3)
NUM_BLOCKS = 8


@pytest.fixture(scope="module")
def space():
    return load_toml(
        RunConfig, Path(__file__).parents[2] / "mosdeploy" / "recipes" / "tiny.toml"
    ).space


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "quality.jsonl"


def run(space, losses):
    def cost(arch):
        return Cost(num_parameters(space, arch, 100), 0)

    return evolve(space, CONFIG, Limits(), losses=losses, cost=cost)


def made_up(space, arch):
    """Weights help, a deep encoder hurts: so that not everyone is on the front."""
    return 1e5 / num_parameters(space, arch, 100) + len(arch.encoder_layers)


class Counting:
    """Measures a made-up loss, the same in every block but for a ripple, and gives up after a
    quarter of the blocks.
    """

    def __init__(self, space, fail_after=10**9, race=True):
        self.space, self.fail_after, self.race, self.calls, self.blocks = (
            space,
            fail_after,
            race,
            0,
            0,
        )

    def __call__(self, archs, incumbents):
        for arch, incumbent in zip(archs, incumbents, strict=True):
            if self.calls == self.fail_after:
                raise KeyboardInterrupt
            self.calls += 1
            loss = made_up(self.space, arch)
            nats = tuple(loss + 0.01 * math.sin(i) for i in range(NUM_BLOCKS))
            early = nats[: NUM_BLOCKS // 4]
            if (
                self.race
                and incumbent is not None
                and should_stop(early, incumbent.nats, NUM_BLOCKS)
            ):
                self.blocks += len(early)
                yield BlockLosses(nats=early)
            else:
                self.blocks += len(nats)
                yield BlockLosses(nats=nats, loss=sum(nats) / NUM_BLOCKS)


def constant(loss):
    return lambda archs, incumbents: (BlockLosses(nats=(loss,), loss=loss) for _ in archs)


def first(losses):
    return next(iter(losses))


def test_a_search_that_was_killed_goes_on_and_pays_nothing_twice(space, path):
    whole = Counting(space)
    expected = run(space, EvaluationCache(path.with_name("whole"), "net").wrap(whole))
    killed, resumed, replayed = Counting(space, fail_after=20), Counting(space), Counting(space)
    with pytest.raises(KeyboardInterrupt):
        run(space, EvaluationCache(path, "net").wrap(killed))
    assert len(path.read_bytes().splitlines()) == 20
    assert run(space, EvaluationCache(path, "net").wrap(resumed)) == expected
    assert killed.calls + resumed.calls == whole.calls
    cache = EvaluationCache(path, "net")
    assert run(space, cache.wrap(replayed)) == expected
    assert replayed.calls == 0
    assert cache.num_hits == whole.calls
    assert cache.num_early_stopped > 0
    assert path.read_bytes() == path.with_name("whole").read_bytes()


def test_racing_reads_less_and_ends_with_the_same_parents_front_and_winner(space, path):
    racing, plain = Counting(space), Counting(space, race=False)
    raced = run(space, EvaluationCache(path, "net").wrap(racing))
    full = run(space, EvaluationCache(path.with_name("full"), "net").wrap(plain))
    assert racing.blocks < plain.blocks
    assert raced.num_evaluated == full.num_evaluated
    assert raced.front == full.front
    assert raced.ranked[: CONFIG.parents] == full.ranked[: CONFIG.parents]


def test_what_is_cached_equals_what_is_measured(space, path):
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(5)]
    measured = [blocks.loss for blocks in Counting(space)(archs, [None] * 5)]
    for _ in range(2):
        assert (
            list(EvaluationCache(path, "net").wrap(Counting(space))(archs, [None] * 5)) == measured
        )


def test_a_subnet_that_was_given_up_is_known_against_the_same_rival_only(space, path):
    small, large = space.smallest, space.largest
    losses = EvaluationCache(path, "net").wrap(Counting(space))
    assert list(losses([small], [None])) == [pytest.approx(made_up(space, small), abs=0.01)]
    assert list(losses([large], [small])) == [None]
    again = Counting(space)
    cached = EvaluationCache(path, "net").wrap(again)
    assert list(cached([large], [small])) == [None]
    assert again.calls == 0
    (full,) = cached([large], [None])
    assert again.calls == 1
    assert full == first(Counting(space)([large], [None])).loss
    assert list(EvaluationCache(path, "net").wrap(again)([large], [small])) == [full]
    assert again.calls == 1


def test_losses_of_another_supernet_are_not_used(space, path):
    def loss(inputs_sha256, value):
        return first(
            EvaluationCache(path, inputs_sha256).wrap(constant(value))([space.largest], [None])
        )

    assert loss("old net", 1.0) == 1.0
    assert loss("new net", 2.0) == 2.0
    assert loss("old net", 3.0) == 1.0


def test_a_loss_that_is_not_finite_is_remembered_too(space, path):
    not_finite = EvaluationCache(path, "net").wrap(lambda *_: [BlockLosses()])
    assert list(not_finite([space.largest], [space.smallest])) == [None]
    cache = EvaluationCache(path, "net")
    assert list(cache.wrap(constant(1.0))([space.largest], [None])) == [None]
    assert (cache.num_hits, cache.num_early_stopped) == (1, 0)


def test_a_torn_last_line_costs_one_loss(space, path):
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(3)]
    values = list(EvaluationCache(path, "net").wrap(Counting(space))(archs, [None] * 3))
    path.write_bytes(path.read_bytes()[:-5])
    again = Counting(space)
    assert list(EvaluationCache(path, "net").wrap(again)(archs, [None] * 3)) == values
    assert again.calls == 1
    assert len(path.read_bytes().splitlines()) == 3


def test_each_loss_is_on_disk_before_the_next_is_computed(space, path):
    archs = [space.smallest, space.largest]
    losses = EvaluationCache(path, "net").wrap(Counting(space))(archs, [None, None])
    for number in itertools.count(1):
        if next(iter(losses), None) is None:
            break
        assert len(path.read_bytes().splitlines()) == number
    assert number == 3


def test_a_corrupt_line_names_file_and_line(space, path):
    list(
        EvaluationCache(path, "net").wrap(Counting(space))(
            [space.largest, space.smallest], [None, None]
        )
    )
    one, other = path.read_bytes().splitlines()
    path.write_bytes(one[:-4] + b"\n" + other + b"\n")
    with pytest.raises(
        StaleInputError, match=r"quality\.jsonl, line 1.*delete that line.*mosdeploy search"
    ):
        EvaluationCache(path, "net")
