import numpy as np
import pytest
from search_problem import ENUMERABLE, MEDIUM, Problem, everything, num_parameters

from mosdeploy.errors import ConfigError, InfeasibleError
from mosdeploy.records import Limits
from mosdeploy.search.constraints import (
    ConstraintTable,
    Cost,
    SearchOracle,
    find_feasible,
    local_search,
    neighbours_of,
    utilisation,
)


def table(problem, limits):
    return ConstraintTable(problem.space, limits, problem.oracle)


def feasible(problem, limits):
    return find_feasible(table(problem, limits), np.random.default_rng(1))


def crooked(arch):
    """A device on which narrow networks are slow."""
    return (
        100.0 / arch.encoder_embed_dim
        + 50.0 / arch.encoder_layers[0].ffn_dim
        + len(arch.decoder_layers)
    )


# -- the table


def test_shares_by_hand():
    limits = Limits(
        max_latency_ms=10.0,
        max_parameters=200,
        max_body_parameters=80,
        max_size_bytes=400,
        max_memory_bytes=1000,
    )
    assert utilisation(limits, 12.5, Cost(100, 500, 60, 900)) == {
        "max_latency_ms": 1.25,
        "max_parameters": 0.5,
        "max_body_parameters": 0.75,
        "max_size_bytes": 1.25,
        "max_memory_bytes": 0.9,
    }
    assert utilisation(limits, None, None) == {}
    assert utilisation(Limits(), 12.5, Cost(100, 500, 60, 900)) == {}


def test_violation_sums_what_is_above_the_limits():
    problem = Problem(latency=lambda arch: 15.0)
    weights = num_parameters(MEDIUM, MEDIUM.largest)
    limits = Limits(max_latency_ms=10.0, max_parameters=4 * weights, max_size_bytes=10**9)
    assert table(problem, limits).violation(MEDIUM.largest) == 0.5
    assert table(problem, Limits()).violation(MEDIUM.largest) == 0.0
    # the problem's memory is twice 4 bytes a weight and 1,000
    memory = Limits(max_memory_bytes=4 * weights + 1000)
    assert table(problem, memory).violation(MEDIUM.largest) == 1.0


def test_each_latency_is_predicted_once_and_together():
    calls = []

    def predict_ms(genes):
        calls.append(len(genes))
        return np.ones(len(genes))

    constraints = ConstraintTable(
        MEDIUM, Limits(), SearchOracle(Problem().losses, Problem().cost, predict_ms)
    )
    archs = [MEDIUM.smallest, MEDIUM.largest, MEDIUM.smallest]
    constraints.prefetch(archs)
    constraints.prefetch(archs)
    assert [constraints.latency_ms(arch) for arch in archs] == [1.0, 1.0, 1.0]
    assert calls == [2]


def test_without_latencies_weights_are_the_objective():
    problem = Problem()
    constraints = ConstraintTable(MEDIUM, Limits(), SearchOracle(problem.losses, problem.cost))
    assert constraints.latency_ms(MEDIUM.largest) is None
    assert constraints.objective(MEDIUM.largest) == num_parameters(MEDIUM, MEDIUM.largest)
    assert table(problem, Limits()).objective(MEDIUM.largest) == problem.latency(MEDIUM.largest)


def test_a_latency_limit_needs_a_predictor():
    with pytest.raises(ConfigError, match="needs a latency predictor; run `mosdeploy profile`"):
        ConstraintTable(MEDIUM, Limits(max_latency_ms=1.0), SearchOracle(list, Problem().cost))


# -- a first architecture within the limits


def test_the_smallest_will_do_where_it_can():
    assert feasible(Problem(), Limits(max_parameters=10**6)) == MEDIUM.smallest


def test_a_local_search_finds_what_the_smallest_is_not():
    fastest = min(crooked(arch) for arch in everything(ENUMERABLE))
    assert crooked(ENUMERABLE.smallest) > fastest
    found = feasible(Problem(ENUMERABLE, crooked), Limits(max_latency_ms=fastest * 1.0001))
    assert crooked(found) == pytest.approx(fastest)


def test_a_local_search_goes_on_from_more_than_the_best_probe():
    """Which none of its neighbours is better than, while the next one has a best neighbour."""
    space = ENUMERABLE
    beside = neighbours_of(space, space.largest)[0]
    of = {space.smallest: 1.0, space.largest: 0.0, beside: 2.0}
    probes = [space.smallest, beside]
    found = local_search(table(Problem(space), Limits()), probes, lambda arch: of.get(arch, 3.0))
    assert found == space.largest


def test_an_impossible_latency_names_the_true_minimum():
    problem = Problem(ENUMERABLE)
    fastest = min(problem.latency(arch) for arch in everything(ENUMERABLE))
    with pytest.raises(
        InfeasibleError, match=rf"max_latency = 0\.5 ms \(least predicted: {fastest:.6g} ms\)"
    ) as error:
        feasible(problem, Limits(max_latency_ms=0.5))
    assert error.value.fastest_latency_ms == pytest.approx(fastest)


def test_limits_are_told_in_the_units_that_people_write():
    problem = Problem(ENUMERABLE)
    asked = (
        (
            Limits(max_latency_ms=1e-9),
            r"max_latency = 0\.000000001 ms \(least predicted: [0-9.]+ ms\)",
        ),
        (Limits(max_size_bytes=2048), r"max_size = 2 KiB \(least found: [0-9.]+ KiB\)"),
        (
            Limits(max_body_parameters=1),
            r"max_parameters of the encoder = 1 \(least found: [0-9,]+",
        ),
    )
    for limits, told in asked:
        with pytest.raises(InfeasibleError, match=told):
            feasible(problem, limits)


def test_limits_can_be_possible_one_by_one_only():
    def only_large_ones_are_fast(arch):
        return 1e6 / num_parameters(ENUMERABLE, arch)

    weights = [num_parameters(ENUMERABLE, arch) for arch in everything(ENUMERABLE)]
    fastest = 1e6 / max(weights)
    limits = Limits(max_latency_ms=fastest, max_parameters=min(weights))
    with pytest.raises(
        InfeasibleError, match=rf"least found: {min(weights):,}\) together"
    ) as error:
        feasible(Problem(ENUMERABLE, only_large_ones_are_fast), limits)
    assert error.value.fastest_latency_ms == pytest.approx(fastest)
