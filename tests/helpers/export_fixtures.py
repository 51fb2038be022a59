import pytest
from networks import make_space, train_to_reverse

from mosdeploy.families.translation.network import Subnet
from mosdeploy.spaces.translation import SearchSpace


@pytest.fixture(params=["pre", "post"])
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return make_space(request.param)


@pytest.fixture(scope="session")
def trained_subnet() -> Subnet:
    return train_to_reverse()
