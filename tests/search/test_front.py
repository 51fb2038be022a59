"""The front with what was measured, and the best within a limit."""

from synthetic import LIMIT_MS, search_result

from mosdeploy.search.front import best_within, front_members, needed_ms


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
