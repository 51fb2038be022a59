"""The front with what was measured, and the best within a limit."""

from synthetic import LIMIT_MS, search_result

from mosdeploy.search import best_first
from mosdeploy.search.front import best_within, front_members, needed_ms


def test_finalists_on_the_front_come_with_their_measurement() -> None:
    result = search_result()
    members = front_members(result)
    assert [x.arch for x in members] == [x.arch for x in result.front]
    measured = {x.arch: x.measured_ms for x in members if x.measured_ms is not None}
    assert measured == {x.arch: x.measured_ms for x in result.finalists}
    assert all(x.measured_ms is None for x in result.front)


def test_finalists_on_the_front_come_with_their_memory() -> None:
    result = search_result()
    taken = [x.model_copy(update={"measured_memory_bytes": 7}) for x in result.finalists]
    (winner,) = [x for x in taken if x.arch == result.winner.arch]
    update = {"finalists": tuple(taken), "winner": winner}
    members = front_members(result.model_copy(update=update))
    measured = {x.arch for x in taken}
    for member in members:
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


def test_what_was_trained_alone_is_ranked_by_what_that_led_to() -> None:
    result = search_result()
    members = front_members(result)
    before = best_first(members)
    limit_ms = max(needed_ms(x) or 0.0 for x in members)
    assert best_within(members, limit_ms) == before[0]
    # the best two as inherited, the better one of which learns less
    losses = {members[before[0]].arch: 2.9, members[before[1]].arch: 2.1}
    finalists = tuple(
        x.model_copy(update={"measured_ms": needed_ms(x), "trained_loss": losses[x.arch]})
        for x in members
        if x.arch in losses
    )
    trained = front_members(result.model_copy(update={"finalists": finalists}))
    assert best_first(trained) == [before[1], before[0], *before[2:]]
    assert best_within(trained, limit_ms) == before[1]


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
