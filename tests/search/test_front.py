"""The front with what was measured, and the best within a limit."""

import numpy as np
import pytest
from search_problem import CONFIG, MEDIUM, Problem, scored
from synthetic import LIMIT_MS, search_result

from mosdeploy.config import load_recipe
from mosdeploy.errors import InfeasibleError
from mosdeploy.records import Limits
from mosdeploy.search.evolution import evolve
from mosdeploy.search.front import (
    Evolution,
    best_within,
    choose_winner,
    finalists,
    front_members,
    is_safe,
    needed_ms,
)


def test_finalists_on_the_front_come_with_their_measurement() -> None:
    result = search_result()
    members = front_members(result)
    assert [x.arch for x in members] == [x.arch for x in result.front]
    measured = {x.arch: x.measured_ms for x in members if x.measured_ms is not None}
    assert measured == {x.arch: x.measured_ms for x in result.finalists}
    assert all(x.measured_ms is None for x in result.front)
    memory = {"measured_memory_bytes": 7}
    taken = tuple(x.model_copy(update=memory) for x in result.finalists)
    update = {"finalists": taken, "winner": result.winner.model_copy(update=memory)}
    for member in front_members(result.model_copy(update=update)):
        assert member.measured_memory_bytes == (7 if member.arch in measured else None)


def test_the_best_within_a_limit_keeps_it_as_measured_too() -> None:
    members = front_members(search_result())
    i = best_within(members, LIMIT_MS)
    assert i is not None
    chosen = members[i]
    assert (needed_ms(chosen) or 0.0) <= LIMIT_MS
    for other in members:
        if other.loss < chosen.loss:
            assert (needed_ms(other) or 0.0) > LIMIT_MS
    # a limit between what is predicted and what was measured does not hold it
    assert chosen.measured_ms is not None
    assert chosen.predicted_ms is not None
    assert best_within(members, (chosen.predicted_ms + chosen.measured_ms) / 2) != i
    # and what was measured within it counts, whatever was predicted
    slower = chosen.model_copy(update={"predicted_ms": LIMIT_MS * 1.1})
    assert best_within([*members[:i], slower, *members[i + 1 :]], LIMIT_MS) == i


def test_nothing_keeps_a_limit_below_the_fastest() -> None:
    members = front_members(search_result())
    fastest = needed_ms(members[0])
    assert fastest is not None
    assert best_within(members, fastest) == 0
    assert best_within(members, fastest * 0.999) is None


def test_without_latencies_nothing_is_within_a_limit() -> None:
    members = [x.model_copy(update={"predicted_ms": None}) for x in search_result().front]
    assert needed_ms(members[0]) is None
    assert best_within(members, 1e9) is None


LIMITS = Limits(max_latency_ms=12.0)


@pytest.fixture(scope="module")
def evolution():
    return evolve(MEDIUM, CONFIG, LIMITS, Problem().oracle)


def candidates_of(points):
    """Candidates at predicted latency, loss and measured latency."""
    rng = np.random.default_rng(0)
    archs = list(dict.fromkeys(MEDIUM.sample(rng) for _ in range(2 * len(points))))
    return [
        scored(
            arch,
            loss,
            predicted_ms=predicted_ms,
            measured_ms=measured_ms,
            size_bytes=40,
            memory_bytes=40,
        )
        for arch, (predicted_ms, loss, measured_ms) in zip(archs, points, strict=False)
    ]


def test_finalists_go_further_and_further_below_the_limit(evolution):
    chosen = finalists(evolution, LIMITS, 4, margin=0.2)
    assert chosen[0] == evolution.ranked[0]
    assert len({c.arch.key for c in chosen}) == 4
    for i, candidate in enumerate(chosen):
        assert candidate.predicted_ms <= 12.0 * (1 - 0.2 * i / 3)


def test_what_is_predicted_at_the_limit_keeps_it():
    best, other = candidates_of([(12.0, 1.0, None), (11.0, 2.0, None)])
    assert finalists(Evolution((best, other), (), frozenset()), LIMITS, 1) == [best]


def test_further_finalists_leave_out_the_measured_ones(evolution):
    first = {c.arch.key for c in finalists(evolution, LIMITS, 5)}
    second = {c.arch.key for c in finalists(evolution, LIMITS, 5, exclude=first)}
    assert len(first) == len(second) == 5
    assert not first & second
    assert len(finalists(evolution, LIMITS, 10_000)) == len(evolution.ranked)


def test_a_single_finalist_goes_below_the_limit_after_others(evolution):
    (first,) = finalists(evolution, LIMITS, 1, margin=0.2)
    assert first == evolution.ranked[0]
    (second,) = finalists(evolution, LIMITS, 1, exclude={first.arch.key}, margin=0.2)
    assert second.predicted_ms <= 12.0 * (1 - 0.2)


def test_the_winner_is_the_best_within_the_limit_as_measured():
    points = [(9.0, 1.0, 10.1), (9.5, 1.5, None), (8.0, 2.0, 10.0), (7.0, 3.0, 7.0)]
    assert choose_winner(candidates_of(points), Limits(max_latency_ms=10.0)).loss == 2.0


def test_of_equal_ones_the_faster_wins():
    first, second = sorted(
        candidates_of([(9.0, 1.0, 9.0), (9.0, 1.0, 9.0)]), key=lambda c: c.arch.key
    )
    faster = second.model_copy(update={"measured_ms": 8.0})
    assert choose_winner([first, faster], Limits(max_latency_ms=10.0)) == faster


@pytest.mark.parametrize(("layers", "width", "is_worth_it"), [(2, 384, False), (3, 192, True)])
def test_so_near_the_limit_that_none_is_safe_more_layers_are_worth_their_time_alone(
    layers, width, is_worth_it
):
    space = load_recipe("minilm-l6").space
    small, large = (
        scored(
            space.repeated({"embed_dim": 384, "layers": depth, "ffn_dim": ffn, "heads": 6}),
            1.0,
            base_loss=0.9,
            measured_ms=ms,
            num_body_parameters=ffn,
        )
        for depth, ffn, ms in ((2, 192, 9.8), (layers, width, 9.9))
    )
    limits = Limits(max_latency_ms=10.0)
    chosen = choose_winner([small, large], limits, margin=0.03)
    assert chosen == (large if is_worth_it else small)
    assert choose_winner([small, large], limits) == large


def test_a_limit_is_kept_by_more_than_the_noise():
    points = [(9.0, 1.0, 9.9), (9.0, 2.0, 9.7), (8.0, 3.0, 9.0)]
    candidates, limits = candidates_of(points), Limits(max_latency_ms=10.0)
    for margin, loss in ((0.0, 1.0), (0.02, 2.0), (0.1, 3.0)):
        assert choose_winner(candidates, limits, margin).loss == loss
    # where none keeps it by so much, one that keeps it
    assert choose_winner(candidates, limits, 0.2).loss == 1.0
    assert [is_safe(candidate, limits, 0.04) for candidate in candidates] == [False, False, True]
    assert not is_safe(candidates[2].model_copy(update={"measured_ms": None}), limits, 0.0)


def test_the_winner_keeps_the_other_limits_too():
    with pytest.raises(InfeasibleError, match=r"fastest took 7 ms; raise the limit"):
        choose_winner(candidates_of([(7.0, 3.0, 7.0)]), Limits(max_size_bytes=39))
    with pytest.raises(InfeasibleError, match="raise the limit"):
        choose_winner(candidates_of([(7.0, 3.0, 7.0)]), Limits(max_memory_bytes=39))


def test_memory_counts_as_measured():
    points = [(7.0, 1.0, 7.0), (7.0, 2.0, 7.0), (7.0, 3.0, 7.0)]
    candidates = [
        c.model_copy(update={"memory_bytes": 2**20, "measured_memory_bytes": measured})
        for c, measured in zip(candidates_of(points), (3 * 2**20, 2 * 2**20, None), strict=True)
    ]
    limits = Limits(max_memory_bytes=2 * 2**20)
    assert choose_winner(candidates, limits).loss == 2.0
    # where the device does not tell, what was predicted counts
    assert choose_winner(candidates[2:], limits).loss == 3.0
    with pytest.raises(
        InfeasibleError,
        # no predictor of latencies mends that
        match=r"and the least memory was 3 MiB, the limit is 2 MiB; raise the limit$",
    ):
        choose_winner(candidates[:1], limits)


def test_where_each_limit_is_kept_by_another_both_are_named():
    fast, small = (
        c.model_copy(update={"measured_memory_bytes": measured})
        for c, measured in zip(
            candidates_of([(10.0, 1.0, 10.0), (30.0, 1.0, 30.0)]),
            (3 * 2**20, 2**20),
            strict=True,
        )
    )
    limits = Limits(max_latency_ms=20.0, max_memory_bytes=2 * 2**20)
    told = r"took 10 ms, the limit is 20 ms, and its memory was 3 MiB, the limit is 2 MiB; raise"
    with pytest.raises(InfeasibleError, match=told):
        choose_winner([fast, small], limits)


def test_no_winner_names_the_fastest_measured():
    slow, limits = candidates_of([(9.0, 1.0, 12.5), (9.5, 1.5, 11.25)]), Limits(max_latency_ms=10)
    told = r"fastest took 11\.25 ms \(p99\), the limit is 10 ms"
    with pytest.raises(InfeasibleError, match=told) as error:
        choose_winner(slow, limits, statistic="p99")
    assert error.value.fastest_latency_ms == 11.25


def test_failed_measurements_say_what_to_check():
    candidates = candidates_of([(9.0, 1.0, None), (9.5, 1.5, None)])
    with pytest.raises(InfeasibleError, match="none of the 2 finalists could be measured") as error:
        choose_winner(candidates, Limits(max_latency_ms=10.0))
    assert error.value.fastest_latency_ms is None


def test_a_limit_on_the_encoder_counts_no_table():
    (found,) = candidates_of([(7.0, 3.0, 7.0)])
    found = found.model_copy(update={"num_body_parameters": 5})
    assert choose_winner([found], Limits(max_body_parameters=5)) == found


def test_of_what_is_fast_enough_the_front_comes_first_and_of_what_is_not_the_best():
    points = [(11.0, 1.0, None), (11.5, 2.0, None), (10.5, 3.0, None)]
    best, beaten, faster = candidates_of(points)
    ranked = (best, beaten, faster)
    evolution = Evolution(ranked, (best, faster), frozenset())
    assert finalists(evolution, LIMITS, 2, margin=0.0) == [best, faster]
    # none is predicted below 9 ms
    assert finalists(Evolution(ranked, (), frozenset()), LIMITS, 2, margin=0.25) == [best, beaten]
