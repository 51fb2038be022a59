import pytest
from latency_fixtures import context_of, draw, record_of, space, spec, true_latency

from mosdeploy.records import LatencyContext

__all__ = ["context", "draw", "record", "space", "spec", "true_latency"]


@pytest.fixture
def context(spec) -> LatencyContext:
    return context_of(spec)


@pytest.fixture(scope="session")
def record():
    return record_of
