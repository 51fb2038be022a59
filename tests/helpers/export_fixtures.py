import pytest
from networks import TranslationSubnet, make_space, train_to_reverse

from mosdeploy.spaces.translation import TranslationSpace


@pytest.fixture(params=["pre", "post"])
def space(request: pytest.FixtureRequest) -> TranslationSpace:
    return make_space(request.param)


@pytest.fixture(scope="session")
def trained_subnet() -> TranslationSubnet:
    return train_to_reverse()
