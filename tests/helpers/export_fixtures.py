import pytest
from example_spaces import uneven_space
from networks import TranslationSubnet, train_to_reverse

from mosdeploy.spaces.translation import TranslationSpace


@pytest.fixture(params=["pre", "post"])
def space(request: pytest.FixtureRequest) -> TranslationSpace:
    return uneven_space(request.param)


@pytest.fixture(scope="session")
def trained_subnet() -> TranslationSubnet:
    return train_to_reverse()
