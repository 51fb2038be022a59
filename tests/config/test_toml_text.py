"""What is written as TOML is read as what it was."""

import tomllib

import pytest

from mosdeploy.config.toml_text import to_toml
from mosdeploy.recipes import list_recipes, read_recipe

ODD = {
    "family": 'quotes " and \\ and \n and \x7f and ä',
    "device": "rpi",
    "a.key with = signs": 1,
    "": True,
    "task": {
        "where": {"source": "a", "an odd key": "b"},
        "labels": ["no", "yes"],
        "empty": [],
        "none": {},
        "share": 1e-9,
        "big": float("inf"),
        "nested": [[1, 2], [3]],
    },
    "export": {},
}


def test_odd_values_come_back() -> None:
    assert tomllib.loads(to_toml(ODD)) == ODD


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_come_back(name: str) -> None:
    data = tomllib.loads(read_recipe(name))
    assert tomllib.loads(to_toml(data)) == data
