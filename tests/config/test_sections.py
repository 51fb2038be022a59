from typing import Any

import pytest

from mosdeploy.config.encoder import TeacherConfig
from mosdeploy.config.sections import (
    SearchConfig,
    SupernetConfig,
    TrainingConfig,
)
from mosdeploy.errors import ConfigError
from mosdeploy.record import Record, parse
from mosdeploy.storage import fingerprint


def test_an_update_has_something_to_train() -> None:
    assert TrainingConfig(num_random_archs=0).sandwich == "both"
    assert TrainingConfig(sandwich="none").num_random_archs == 1
    with pytest.raises(ValueError, match="nothing is left to train"):
        TrainingConfig(sandwich="none", num_random_archs=0)


@pytest.mark.parametrize(
    ("section", "data", "key"),
    [
        (SearchConfig, {"max_latency": "-1ms"}, "max_latency"),
        (SearchConfig, {"max_size": "12 MB"}, "max_size"),
        (TrainingConfig, {"seed": 2**64}, "seed"),
        (TrainingConfig, {"threads": 100_000}, "threads"),
        (SearchConfig, {"population": 10**9}, "population"),
        (TrainingConfig, {"steps": 10**10}, "steps"),
        (TeacherConfig, {"steps": 10**10}, "steps"),
        (SupernetConfig, {"router_hidden_dim": 10**9}, "router_hidden_dim"),
    ],
)
def test_value_out_of_range_names_its_key(
    section: type[Record], data: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=f"'{key}'"):
        parse(section, data, "mosdeploy.toml")


@pytest.mark.parametrize("value", ["150", 150])
def test_a_limit_without_a_unit_is_told_once_how_to_write_it(value: object) -> None:
    with pytest.raises(ConfigError, match=r"'150' is not a duration; .*like 150ms") as caught:
        parse(SearchConfig, {"max_latency": value}, "mosdeploy.toml")
    assert "got" not in str(caught.value)


def test_how_a_training_is_logged_is_in_no_fingerprint() -> None:
    drawn = parse(TrainingConfig, {"log": "tensorboard"}, "x")
    assert drawn.log == "tensorboard"
    assert fingerprint(drawn) == fingerprint(TrainingConfig())
