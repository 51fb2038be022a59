from collections.abc import Iterable

import numpy as np
import pytest

from mosdeploy.runtime import InputError
from mosdeploy.runtime.texts import check_texts


@pytest.mark.parametrize("given", [[], ["a"], ("a", "b"), np.array(["a", "b"])])
def test_lists_of_texts(given: Iterable[str]) -> None:
    check_texts(given)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, "None"),
        (3, "3"),
        ((text for text in "ab"), "<generator object .*"),
        ({"a"}, "{'a'}"),
        ({"a": 1}, "{'a': 1}"),
        (np.array("a"), r"array\('a', .*"),
    ],
)
def test_what_is_no_list(given: object, shown: str) -> None:
    with pytest.raises(InputError, match=rf"^{shown} is no list of texts; write a list or a tuple"):
        check_texts(given)


def test_a_list_of_something_else() -> None:
    with pytest.raises(InputError, match=r"^None is no provider; write a list of providers"):
        check_texts([None], "provider")
