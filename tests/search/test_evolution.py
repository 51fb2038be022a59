import json
import math

import numpy as np
import pytest
from search_problem import (
    CONFIG,
    ENUMERABLE,
    MEDIUM,
    Problem,
    everything,
    num_parameters,
    scored,
)

from mosdeploy.config.sections import SearchConfig
from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.records import Limits
from mosdeploy.search.constraints import Cost, SearchOracle
from mosdeploy.search.evolution import LossCache, evolve
from mosdeploy.search.front import Evolution, pareto_front, with_winner
from mosdeploy.search.refine import widen_ffn
from mosdeploy.spaces.translation import TranslationSpace


def run(problem, limits=None, progress=None, seed=1):
    return evolve(problem.space, CONFIG, limits or Limits(), problem.oracle, progress, seed=seed)


def test_each_architecture_is_evaluated_once():
    problem = Problem()
    evolution = run(problem)
    assert len(problem.asked) == len(set(problem.asked)) == evolution.num_evaluated
    assert 150 < evolution.num_evaluated <= 30 + 6 * 24


def test_whatever_is_evaluated_keeps_all_limits():
    problem = Problem()
    limits = Limits(max_latency_ms=12.0, max_parameters=90_000, max_size_bytes=350_000)
    evolution = run(problem, limits)
    assert evolution.num_evaluated > 100
    for candidate in evolution.ranked:
        assert candidate.predicted_ms == problem.latency(candidate.arch) <= 12.0
        assert candidate.num_parameters <= 90_000
        assert candidate.size_bytes == 4 * candidate.num_parameters + 1000 <= 350_000


def test_candidates_are_ranked_and_better_than_chance():
    problem = Problem()
    evolution = run(problem, Limits(max_latency_ms=12.0))
    losses = [candidate.loss for candidate in evolution.ranked]
    assert losses == sorted(losses)
    rng = np.random.default_rng(5)
    drawn = [MEDIUM.sample(rng) for _ in range(2000)]
    fast = [arch for arch in drawn if problem.latency(arch) <= 12.0]
    assert losses[0] < min(problem.loss(arch) for arch in fast[: evolution.num_evaluated])


def test_a_seed_takes_the_same_way_in_every_version():
    best = run(Problem(), Limits(max_latency_ms=12.0)).ranked[0]
    assert best.arch.key == "0630ff48e579a179"
    assert best.loss == pytest.approx(-1.4758603079639923)
    assert best.predicted_ms == 11.536


def test_it_finds_the_best_of_a_tiny_space():
    problem = Problem(ENUMERABLE)
    best = min(
        problem.loss(arch)
        for arch in everything(ENUMERABLE)
        if num_parameters(ENUMERABLE, arch) <= 40_000
    )
    assert run(problem, Limits(max_parameters=40_000)).ranked[0].loss == best


def test_a_tiny_space_is_exhausted_without_waiting():
    one = {"decoder_layers": (1,), "encoder_layers": (1,), "cross_span": (1,)}
    small = TranslationSpace(**{**ENUMERABLE.model_dump(), **one})
    assert run(Problem(small)).num_evaluated == small.num_architectures == 16


def test_the_seed_and_the_callables_decide():
    limits = Limits(max_latency_ms=12.0)
    first = run(Problem(), limits)
    assert run(Problem(), limits) == first
    other = run(Problem(), limits, seed=2)
    assert {c.arch for c in other.ranked} != {c.arch for c in first.ranked}


def test_progress_tells_every_iteration():
    seen = []
    evolution = run(Problem(), progress=seen.append)
    assert [p.number for p in seen] == list(range(CONFIG.iterations + 1))
    assert [p.best_loss for p in seen] == sorted((p.best_loss for p in seen), reverse=True)
    assert seen[-1].num_evaluated == evolution.num_evaluated
    assert seen[-1].best_loss == evolution.ranked[0].loss


def test_of_candidates_that_are_equally_good_the_fastest_comes_first():
    archs = sorted([MEDIUM.smallest, MEDIUM.largest], key=lambda arch: arch.key)
    slow, fast = (
        scored(arch, 1.0, predicted_ms=ms) for arch, ms in zip(archs, (2.0, 1.0), strict=True)
    )
    found = Evolution((), (), frozenset()).with_candidates([slow, fast], archs)
    assert found.ranked == (fast, slow)
    assert found.evaluated == set(archs)


def test_what_has_no_finite_loss_is_counted_and_forgotten():
    problem = Problem()

    def losses(archs):
        return [math.nan if len(a.decoder_layers) == 3 else problem.loss(a) for a in archs]

    evolution = evolve(MEDIUM, CONFIG, Limits(), SearchOracle(losses, problem.cost))
    assert evolution.ranked
    assert all(len(c.arch.decoder_layers) < 3 and c.predicted_ms is None for c in evolution.ranked)
    assert evolution.num_evaluated > len(evolution.ranked)


def test_no_finite_loss_at_all_says_what_to_do():
    oracle = SearchOracle(lambda archs: [None] * len(archs), Problem().cost)
    with pytest.raises(MosdeployError, match=r"none of \d+ subnets .* train the supernet again"):
        evolve(MEDIUM, CONFIG, Limits(), oracle)


def test_a_narrow_limit_still_fills_the_population():
    problem = Problem()
    limit_ms = 1.3 * problem.latency(MEDIUM.smallest)
    evolution = run(problem, Limits(max_latency_ms=limit_ms))
    assert evolution.num_evaluated > 20
    assert evolution.ranked[0].predicted_ms <= limit_ms


# -- the front


def test_the_front_of_hand_drawn_points():
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.5, 2.5), (2.0, 2.2), (4.0, 1.0)]
    candidates = [scored(MEDIUM.smallest, loss, predicted_ms=ms) for ms, loss in points]
    front = [(c.predicted_ms, c.loss) for c in pareto_front(candidates)]
    assert front == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]


def test_a_winner_of_an_earlier_search_joins_the_front_unless_it_is_beaten():
    evolution = run(Problem())
    front = evolution.front
    assert with_winner(front, front[0]) == front
    beaten = next(c for c in evolution.ranked if c not in front)
    assert with_winner(front, beaten) == front
    slowest = front[-1]
    better = beaten.model_copy(
        update={"loss": slowest.loss - 1.0, "predicted_ms": 2 * slowest.predicted_ms}
    )
    assert with_winner(front, better) == (*front, better)


def test_all_but_the_front_is_dominated():
    evolution = run(Problem())

    def dominates(a, b):
        return a.predicted_ms <= b.predicted_ms and a.loss <= b.loss and a != b

    for candidate in evolution.ranked:
        beaten = any(dominates(other, candidate) for other in evolution.front)
        assert beaten != (candidate in evolution.front)


def test_starters_within_the_limits_are_tried_first():
    class Started(TranslationSpace):
        def starters(self):
            return [self.smallest, self.largest]

    problem = Problem(Started.model_validate(MEDIUM.model_dump()))
    run(problem, Limits(max_latency_ms=12.0))
    first = problem.asked[: CONFIG.population]
    assert problem.space.smallest in first and problem.space.largest not in problem.asked


SMALL = SearchConfig(population=16, iterations=3)
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


def widened(losses):
    def cost(arch):
        return Cost(num_parameters(MEDIUM, arch), 0, 0, 0)

    oracle = SearchOracle(losses, cost)
    limits = Limits(max_parameters=100_000)
    return widen_ffn(evolve(MEDIUM, SMALL, limits, oracle), MEDIUM, limits, oracle, 3)


def test_a_killed_search_goes_on_and_computes_nothing_twice(path):
    whole = Counting()
    expected = widened(cached(path.with_name("whole"), whole))
    killed = Counting(fail_after=20)
    with pytest.raises(KeyboardInterrupt):
        widened(cached(path, killed))
    # each is on disk before the next one is computed
    assert len(path.read_bytes().splitlines()) == 20
    resumed = Counting()
    assert widened(cached(path, resumed)) == expected
    assert killed.calls + resumed.calls == whole.calls
    assert path.read_bytes() == path.with_name("whole").read_bytes()
    replayed = Counting()
    assert widened(cached(path, replayed)) == expected
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
