import dataclasses

import pytest
from search_problem import Problem

from mosdeploy.search import Cost, SearchOracle


def test_latencies_are_optional():
    problem = Problem()
    assert SearchOracle(problem.losses, problem.cost).predict_ms is None


def test_an_oracle_does_not_change_in_a_search():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Problem().oracle.predict_ms = None


def test_costs_by_hand():
    arch = Problem().space.smallest
    weights = Problem().spec.num_parameters(arch)
    body = Problem().spec.inventory(arch).num_body_parameters
    size = 4 * weights + 1000
    assert Problem().oracle.cost(arch) == Cost(weights, size, body, 2 * size)
