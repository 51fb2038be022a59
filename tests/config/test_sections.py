from pathlib import Path
from typing import Any

import pytest

import mosdeploy
from mosdeploy.config.device import DeviceProfile
from mosdeploy.config.sections import SearchConfig, SupernetConfig, TrainingConfig
from mosdeploy.config.translation import CorpusConfig, RunConfig
from mosdeploy.config.units import parse_budget_s, parse_count, parse_duration_ms, parse_percent
from mosdeploy.errors import ConfigError
from mosdeploy.record import Record, load_toml, parse
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.storage import fingerprint

RECIPES = sorted((Path(mosdeploy.__file__).parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("150ms", 150.0),
        ("3.5s", 3500.0),
        ("800us", 0.8),
        (" 20 ms ", 20.0),
        (".5s", 500.0),
        ("007ms", 7.0),
    ],
)
def test_duration_in_milliseconds(text: str, expected_ms: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("text", "expected_s"), [("90s", 90.0), ("30m", 1800.0), (" 1.5 h ", 5400.0)]
)
def test_time_to_spend_in_seconds(text: str, expected_s: float) -> None:
    assert parse_budget_s(text) == expected_s


@pytest.mark.parametrize("text", ["30", "0m", "-1m", "30ms", "1m30s", "", "m"])
def test_bad_time_to_spend_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="like 90s, 30m or 2h"):
        parse_budget_s(text)


@pytest.mark.parametrize(
    "text",
    [
        "150",
        "-1ms",
        "0ms",
        "0.0s",
        "abc",
        "",
        "ms",
        "1 m",
        "1e3ms",
        "nanms",
        "infs",
        "1ms 2ms",
        "٣ms",
        "9" * 400 + "s",
    ],
)
def test_bad_duration_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="positive number with its unit, like 150ms") as caught:
        parse_duration_ms(text)
    assert f"'{text}'" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("2%", 2.0), ("0.5%", 0.5), (" 10 % ", 10.0), (".25%", 0.25)]
)
def test_percent(text: str, expected: float) -> None:
    assert parse_percent(text) == pytest.approx(expected)


def test_an_update_has_something_to_train() -> None:
    assert "extremes" not in TrainingConfig(num_random_archs=0).model_dump()
    assert TrainingConfig(sandwich="none").num_random_archs == 1
    with pytest.raises(ValueError, match="nothing is left to train"):
        TrainingConfig(sandwich="none", num_random_archs=0)


@pytest.mark.parametrize(
    "text", ["2", "-1%", "0%", "100%", "abc", "", "%", "nan%", "2%%", "9" * 400 + "%"]
)
def test_bad_percent_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="with its sign, like 2%") as caught:
        parse_percent(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("3500000", 3_500_000),
        ("4M", 4_000_000),
        ("1.5k", 1500),
        ("12MiB", 12 * 1024 * 1024),
        ("2 KiB", 2048),
        ("1G", 10**9),
        ("1GiB", 2**30),
        ("64B", 64),
    ],
)
def test_count(text: str, expected: int) -> None:
    assert parse_count(text) == expected


@pytest.mark.parametrize("text", ["0", "-4M", "0.5", "abc", "", "4m", "4 MB", "9" * 400])
def test_bad_count_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="positive number like 3500000, 4M or 12MiB"):
        parse_count(text)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipe_is_valid(recipe: Path) -> None:
    config = load_toml(RunConfig, recipe)
    config.space.check(config.space.largest)
    assert num_parameters(config.space, config.space.smallest, config.corpus.vocab_size) > 0


def test_recipes_are_there() -> None:
    assert {path.stem for path in RECIPES} >= {
        "tiny",
        "wmt14.en-de",
        "wmt14.en-fr",
        "wmt19.en-de",
        "iwslt14.de-en",
    }


@pytest.mark.parametrize("name", ["rpi", "rpi-4", "Pi_2.local", "a"])
def test_device_name(name: str) -> None:
    assert DeviceProfile(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "-rpi", "a--b", "rpi-", "../etc", "a b", "x" * 65, "rpi;ls", "rpi\n"]
)
def test_bad_device_name(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        parse(DeviceProfile, {"name": name}, "devices/x.toml")


@pytest.mark.parametrize(
    ("section", "data", "key"),
    [
        (SearchConfig, {"max_latency": "-1ms"}, "max_latency"),
        (SearchConfig, {"max_size": "12 MB"}, "max_size"),
        (SearchConfig, {"mutation_probability": 0}, "mutation_probability"),
        (TrainingConfig, {"learning_rate": 0}, "learning_rate"),
        (TrainingConfig, {"adam_betas": [0.9, 1.0]}, "adam_betas.1"),
        (TrainingConfig, {"label_smoothing": 1}, "label_smoothing"),
        (CorpusConfig, {"train": "x", "format": "csv"}, "format"),
        (CorpusConfig, {"train": "x", "valid_fraction": -0.1}, "valid_fraction"),
        (DeviceProfile, {"name": "rpi", "measure": {"min_repeats": 9}}, "measure.min_repeats"),
        (DeviceProfile, {"name": "rpi", "measure": {"min_repeats": 300}}, "measure"),
        (DeviceProfile, {"name": "rpi", "connect_timeout_s": 0}, "connect_timeout_s"),
    ],
)
def test_value_out_of_range_names_its_key(
    section: type[Record], data: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=f"'{key}'"):
        parse(section, data, "mosdeploy.toml")


def test_options_that_came_later_leave_fingerprints_alone_while_they_are_off() -> None:
    assert "expert_rank" not in SupernetConfig().model_dump()
    on = SupernetConfig(expert_rank=4)
    assert parse(SupernetConfig, on.model_dump(mode="json"), "test") == on
    assert fingerprint(on) != fingerprint(SupernetConfig())
