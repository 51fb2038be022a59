"""The examples in docstrings give what they say."""

import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mosdeploy"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text()
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    for package in re.findall(r">>> .*package:(\w+)", MODULES[name].read_text()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
