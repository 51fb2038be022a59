import itertools
import json
import math

import numpy as np
import pytest
from example_spaces import space_of
from search_problem import MEDIUM, num_parameters

from mosdeploy.config.sections import SearchConfig
from mosdeploy.errors import StaleInputError
from mosdeploy.evaluation.cache import BlockLosses, EvaluationCache
from mosdeploy.evaluation.racing import should_stop
from mosdeploy.records import Limits
from mosdeploy.search import Cost, SearchOracle, evolve, with_wider

CONFIG = SearchConfig(population=12, parents=4, mutations=6, crossovers=6, iterations=3)
NUM_BLOCKS = 8
SMALLEST = MEDIUM.smallest
LARGEST = MEDIUM.largest

LINES_OF_0_1_0 = f"""\
{{"nats":[1.5,2.5],"loss":2.0,"made_from":"net","key":"{LARGEST.key}","rival":null}}
{{"nats":[1.5],"loss":null,"made_from":"net","key":"{SMALLEST.key}","rival":"{LARGEST.key}"}}
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "quality.jsonl"


def run(losses):
    def cost(arch):
        return Cost(num_parameters(MEDIUM, arch), 0, 0, 0)

    return evolve(MEDIUM, CONFIG, Limits(), SearchOracle(losses, cost))


def made_up(arch):
    """Weights help, a deep encoder hurts: so that not all are on the front."""
    return 1e5 / num_parameters(MEDIUM, arch) + len(arch.encoder_layers)


class Counting:
    """A made-up loss, the same in every block but for a ripple, that stops early after a quarter of
    the blocks.
    """

    def __init__(self, fail_after=10**9, race=True, loss=made_up):
        self.fail_after = fail_after
        self.race = race
        self.loss = loss
        self.calls = 0
        self.blocks = 0

    def __call__(self, archs, incumbents):
        for arch, incumbent in zip(archs, incumbents, strict=True):
            if self.calls == self.fail_after:
                raise KeyboardInterrupt
            self.calls += 1
            nats = tuple(self.loss(arch) + 0.01 * math.sin(i) for i in range(NUM_BLOCKS))
            early = nats[: NUM_BLOCKS // 4]
            races = self.race and incumbent is not None
            if races and should_stop(early, incumbent.nats, NUM_BLOCKS):
                self.blocks += len(early)
                yield BlockLosses(nats=early)
            else:
                self.blocks += len(nats)
                yield BlockLosses(nats=nats, loss=sum(nats) / NUM_BLOCKS)


def constant(loss):
    return lambda archs, incumbents: (BlockLosses(nats=(loss,), loss=loss) for _ in archs)


def cached(path, measure, inputs_sha256="net"):
    return EvaluationCache(path, inputs_sha256).wrap(measure)


def test_a_killed_search_goes_on_and_computes_nothing_twice(path):
    whole = Counting()
    killed = Counting(fail_after=20)
    resumed = Counting()
    expected = run(cached(path.with_name("whole"), whole))
    with pytest.raises(KeyboardInterrupt):
        run(cached(path, killed))
    assert len(path.read_bytes().splitlines()) == 20
    assert run(cached(path, resumed)) == expected
    assert killed.calls + resumed.calls == whole.calls
    assert path.read_bytes() == path.with_name("whole").read_bytes()


def test_a_finished_search_is_replayed_from_the_file(path):
    whole = Counting()
    expected = run(cached(path, whole))
    replayed = Counting()
    cache = EvaluationCache(path, "net")
    assert run(cache.wrap(replayed)) == expected
    assert replayed.calls == 0
    assert cache.num_early_stopped > 0


def test_a_search_that_widens_repeats_itself(path):
    space = space_of(
        embed_dim=(32,),
        layers=(1,),
        ffn_dim=(64, 128, 256),
        heads=(2,),
        qkv_dim=32,
        cross_span=(1,),
    )
    config = SearchConfig(
        population=4, parents=2, mutations=4, crossovers=4, iterations=3, finalists=2
    )

    def cost(arch):
        return Cost(num_parameters(space, arch), 0, 0, 0)

    def narrow_first(arch):
        return 1.0 + 1e-8 * num_parameters(space, arch)

    def searched():
        cache = EvaluationCache(path, "net")
        oracle = SearchOracle(cache.wrap(Counting(loss=narrow_first)), cost)
        found = evolve(space, config, Limits(), oracle)
        return with_wider(found, space, Limits(), oracle, 5), cache.num_early_stopped

    first = searched()
    # some were stopped early, and then evaluated in full
    assert len(path.read_bytes().splitlines()) > first[0].num_evaluated > first[1] > 0
    assert searched() == first


def test_racing_does_less_and_ends_with_the_same(path):
    racing = Counting()
    plain = Counting(race=False)
    raced = run(cached(path, racing))
    full = run(cached(path.with_name("full"), plain))
    assert racing.blocks < plain.blocks
    assert raced.num_evaluated == full.num_evaluated
    assert raced.front == full.front
    assert raced.ranked[: CONFIG.parents] == full.ranked[: CONFIG.parents]


def test_what_is_cached_equals_what_is_measured(path):
    rng = np.random.default_rng(0)
    archs = [MEDIUM.sample(rng) for _ in range(5)]
    measured = [blocks.loss for blocks in Counting()(archs, [None] * 5)]
    for _ in range(2):
        assert list(cached(path, Counting())(archs, [None] * 5)) == measured


def test_an_early_stop_holds_against_the_same_incumbent(path):
    losses = cached(path, Counting())
    assert list(losses([LARGEST], [None])) == [pytest.approx(made_up(LARGEST), abs=0.01)]
    assert list(losses([SMALLEST], [LARGEST])) == [None]
    again = Counting()
    losses = cached(path, again)
    assert list(losses([SMALLEST], [LARGEST])) == [None]
    assert again.calls == 0
    (full,) = losses([SMALLEST], [None])
    assert again.calls == 1
    assert full == pytest.approx(made_up(SMALLEST), abs=0.01)
    # the full loss came later: the first question has the answer that it had
    later = cached(path, again)
    assert list(later([SMALLEST], [LARGEST])) == [None]
    assert list(later([SMALLEST], [None])) == [full]
    assert again.calls == 1


def test_losses_of_another_supernet_are_not_used(path):
    def loss(inputs_sha256, value):
        (found,) = cached(path, constant(value), inputs_sha256)([LARGEST], [None])
        return found

    assert loss("old net", 1.0) == 1.0
    assert loss("new net", 2.0) == 2.0
    assert loss("old net", 3.0) == 1.0


def test_lines_of_0_1_0_are_ignored(path):
    path.parent.mkdir()
    path.write_text(LINES_OF_0_1_0)
    assert list(cached(path, constant(1.0))([LARGEST], [None])) == [1.0]
    assert list(cached(path, constant(3.0))([LARGEST], [None])) == [1.0]
    assert path.read_text().startswith(LINES_OF_0_1_0)


def test_a_loss_that_is_not_finite_is_remembered_too(path):
    assert list(cached(path, lambda *_: [BlockLosses()])([LARGEST], [SMALLEST])) == [None]
    cache = EvaluationCache(path, "net")
    assert list(cache.wrap(constant(1.0))([LARGEST], [None])) == [None]
    assert cache.num_early_stopped == 0


def test_a_line_by_hand(path):
    list(cached(path, constant(1.5))([LARGEST], [None]))
    assert json.loads(path.read_text()) == {
        "nats": [1.5],
        "loss": 1.5,
        "inputs_sha256": "net",
        "key": LARGEST.key,
        "incumbent": None,
    }


def test_a_torn_last_line_costs_one_loss(path):
    rng = np.random.default_rng(0)
    archs = [MEDIUM.sample(rng) for _ in range(3)]
    values = list(cached(path, Counting())(archs, [None] * 3))
    path.write_bytes(path.read_bytes()[:-5])
    again = Counting()
    assert list(cached(path, again)(archs, [None] * 3)) == values
    assert again.calls == 1
    assert len(path.read_bytes().splitlines()) == 3


def test_each_loss_is_on_disk_before_the_next_is_computed(path):
    losses = cached(path, Counting())([SMALLEST, LARGEST], [None, None])
    for number in itertools.count(1):
        if next(iter(losses), None) is None:
            break
        assert len(path.read_bytes().splitlines()) == number
    assert number == 3


@pytest.mark.parametrize(
    "corrupt",
    [
        b'{"nats": [1.0',
        b"[]",
        b'{"inputs_sha256": "net"}',
        b'{"inputs_sha256": "net", "key": "a", "loss": 2.0, "loss": 1.0}',
    ],
)
def test_a_corrupt_line_names_file_and_line(path, corrupt):
    path.parent.mkdir()
    path.write_bytes(corrupt + b"\n")
    message = r"quality\.jsonl, line 1.*delete that line.*mosdeploy search"
    with pytest.raises(StaleInputError, match=message):
        EvaluationCache(path, "net")
