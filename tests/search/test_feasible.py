import numpy as np
import pytest
from search_problem import ENUMERABLE, MEDIUM, Problem, everything, num_parameters

from mosdeploy.errors import InfeasibleError
from mosdeploy.records import Limits
from mosdeploy.search.feasible import FeasibleSpace


def found(problem, limits):
    return FeasibleSpace.find(problem.space, limits, problem.cost, problem.predict_ms)


def drawn(within, count=8):
    return [within.sample(np.random.default_rng([3, step])) for step in range(count)]


@pytest.mark.parametrize("max_latency_ms", [pytest.param(2.7, marks=pytest.mark.slow), 5.0, 12.0])
def test_every_architecture_keeps_the_limits(max_latency_ms):
    """From limits that one in a thousand keeps to those that most keep."""
    problem = Problem()
    parameters = 90_000
    limits = Limits(max_latency_ms=max_latency_ms, max_parameters=parameters)
    within = found(problem, limits)
    for arch in [within.largest, within.smallest, *drawn(within)]:
        assert problem.latency(arch) <= max_latency_ms
        assert num_parameters(MEDIUM, arch) <= parameters
    assert drawn(within) == drawn(within)


def test_the_ends_are_those_of_the_whole_enumeration():
    problem = Problem(ENUMERABLE)
    sizes = {arch: num_parameters(ENUMERABLE, arch) for arch in everything(ENUMERABLE)}
    for share in (0.3, 0.6, 1.0):
        slowest = max(problem.latency(arch) for arch in sizes)
        limits = Limits(max_latency_ms=share * slowest)
        kept = [size for arch, size in sizes.items() if problem.latency(arch) <= share * slowest]
        within = found(problem, limits)
        assert sizes[within.largest] == max(kept)
        assert sizes[within.smallest] == min(kept)


@pytest.mark.slow
def test_all_that_keeps_the_limits_is_drawn():
    problem = Problem(ENUMERABLE)
    limits = Limits(max_parameters=num_parameters(ENUMERABLE, ENUMERABLE.smallest) + 2000)
    kept = {
        arch
        for arch in everything(ENUMERABLE)
        if num_parameters(ENUMERABLE, arch) <= limits.max_parameters
    }
    assert 1 < len(kept) < 20
    assert set(drawn(found(problem, limits), 60)) == kept


@pytest.mark.slow
def test_where_almost_nothing_keeps_the_limits_it_walks():
    """Only the smallest network and its nearest relatives: no random draw finds these."""
    problem = Problem()
    limits = Limits(max_parameters=num_parameters(MEDIUM, MEDIUM.smallest) + 100)
    within = found(problem, limits)
    assert all(num_parameters(MEDIUM, arch) <= limits.max_parameters for arch in drawn(within, 10))


def test_limits_that_nothing_keeps_are_refused():
    with pytest.raises(InfeasibleError, match=r"max_latency = 0\.001 ms"):
        found(Problem(), Limits(max_latency_ms=0.001))
