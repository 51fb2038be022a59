"""Other values of keys in the text of a run file."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.pipeline.init import with_settings

TEXT = """# a run file

family = "encoder"

[workload]                       # what one number stands for
name = "text"
batch = 1                        # texts at once
# threads = 1

[space]
heads = [
  3,
  6,
]
"""


def test_other_lines_and_their_comments_stay() -> None:
    changed = with_settings(TEXT, {"workload.batch": 8}).splitlines()
    assert [x for x in changed if x not in TEXT.splitlines()] == ["batch = 8 # given to init"]
    assert len(changed) == len(TEXT.splitlines())


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("workload.threads", 2, ("workload", "threads")),
        ("training.learning_rate", 1e-5, ("training", "learning_rate")),
        ("device", "rpi", ("device",)),
        ("family", 'trans\u00b2lation "x"', ("family",)),
        ("space.layers", (1, 2), ("space", "layers")),
        ("space.heads", [4], ("space", "heads")),  # over several lines
    ],
)
def test_a_key_is_where_it_belongs(name: str, value: Any, place: tuple[str, ...]) -> None:
    found: Any = tomllib.loads(with_settings(TEXT, {name: value}))
    for key in place:
        found = found[key]
    assert found == (list(value) if isinstance(value, tuple) else value)
    before, after = (tomllib.loads(x) for x in (TEXT, with_settings(TEXT, {name: value})))
    for data in (before, after):
        (data.get(place[0], {}) if len(place) == 2 else data).pop(place[-1], None)
    assert {k: x for k, x in after.items() if x} == {k: x for k, x in before.items() if x}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workload.batch", None),
        ("workload.batch", object()),
        ("workload.batch.size", 1),
    ],
)
def test_what_cannot_be_changed_here_is_refused(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be set to .* change all else in mosdeploy\.toml"
    ):
        with_settings(TEXT, {name: value})


@pytest.mark.parametrize(
    ("value", "taken"),
    [(np.int64(5), 5), (np.float32(0.5), 0.5), (np.arange(2), [0, 1]), (Path("a/b"), "a/b")],
)
def test_what_stands_for_a_value_is_taken(value: Any, taken: Any) -> None:
    assert tomllib.loads(with_settings(TEXT, {"workload.x": value}))["workload"]["x"] == taken
