"""The command that trains again: typed, it means what the training was begun with."""

import shlex

import pytest
from example_spaces import SMALL

from mosdeploy.cli.options import LimitOptions
from mosdeploy.config import RunConfig, load_recipe
from mosdeploy.config.sections import TrainingConfig
from mosdeploy.config.units import parse_budget_s
from mosdeploy.records import BegunTraining, Limits, SupernetCard, TrainingLimits
from mosdeploy.run_folder.budget import split_steps
from mosdeploy.run_folder.train_command import train_command

CONFIG = load_recipe("tiny")


def begun(limits: Limits, device: str | None = None, time_s: float | None = None) -> BegunTraining:
    within = TrainingLimits(
        device=device,
        limits=limits,
        predictor_sha256=None,
        largest=SMALL.largest,
        smallest=SMALL.smallest,
    )
    budget = split_steps(100).model_copy(update={"time_s": time_s})
    return BegunTraining(inputs_sha256="", data_sha256="", limits=within, budget=budget)


def finished(limits: Limits) -> SupernetCard:
    return SupernetCard(
        **begun(limits).model_dump(),
        space_sha256="",
        tokenizer_sha256="",
        supernet_sha256="",
        steps=1,
        vocab_size=1,
        routing="none",
        num_experts=1,
        largest_loss=1.0,
        smallest_loss=1.0,
        train_seconds=1.0,
    )


def configured(**training: str) -> RunConfig:
    changed = CONFIG.training.model_copy(update=training)
    return CONFIG.model_copy(update={"training": changed, "device": None})


def options(command: str) -> dict[str, str]:
    words = shlex.split(command)
    assert words[:2] == ["mosdeploy", "train"]
    return dict(zip(words[2::2], words[3::2], strict=True))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_latency_ms=20.0),
        Limits(max_latency_ms=0.00001234, max_size_bytes=2**20),
        Limits(max_latency_ms=1e17, max_parameters=3_500_001),
        Limits(max_parameters=4_000_000, max_memory_bytes=200 * 2**20),
        Limits(max_body_parameters=20_000),
        Limits(max_size_bytes=1000, max_memory_bytes=2**30),
    ],
)
def test_limits_are_the_same_once_typed(limits: Limits) -> None:
    found = options(train_command(configured(), begun(limits, "rpi")))
    assert found.pop("--device") == "rpi"
    fields = {name.removeprefix("--").replace("-", "_"): text for name, text in found.items()}
    assert LimitOptions(**fields).limits(TrainingConfig()) == limits  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "limits", [Limits(max_parameters=4_000_000), Limits(max_body_parameters=20_000)]
)
def test_what_is_counted_is_said_where_the_run_file_counts_otherwise(limits: Limits) -> None:
    config = configured(count="encoder", max_parameters="1k")
    found = options(train_command(config, begun(limits)))
    assert ("--count" in found) is (limits.max_parameters is not None)
    fields = {name.removeprefix("--").replace("-", "_"): text for name, text in found.items()}
    assert LimitOptions(**fields).limits(config.training) == limits  # type: ignore[arg-type]


@pytest.mark.parametrize("time_s", [90.0, 1800.0, 7200.0, 0.5])
def test_a_time_is_the_same_once_typed(time_s: float) -> None:
    found = options(train_command(configured(), begun(Limits(), time_s=time_s)))
    assert {name: parse_budget_s(text) for name, text in found.items()} == {"--time": time_s}


def test_what_the_run_file_says_needs_no_option() -> None:
    config = configured(max_size="1MiB")
    assert train_command(config, begun(Limits(max_size_bytes=2**20))) == "mosdeploy train"
    config = config.model_copy(update={"device": "rpi"})
    command = train_command(config, begun(Limits(max_latency_ms=20.0), "rpi"))
    assert command == "mosdeploy train --max-latency 20ms"


def test_a_stopped_training_keeps_its_limit_a_new_one_takes_the_run_files() -> None:
    limits = Limits(max_size_bytes=2**20, max_body_parameters=9000)
    config = configured(max_size="2MiB")
    count = "--max-parameters 9k --count encoder"
    assert train_command(config, begun(limits)) == f"mosdeploy train {count} --max-size 1MiB"
    assert train_command(config, finished(limits)) == f"mosdeploy train {count}"
    config = configured(max_parameters="3k")
    assert train_command(config, finished(limits)) == "mosdeploy train --max-size 1MiB"


def test_a_supernet_without_limits_needs_no_option() -> None:
    whole = begun(Limits()).model_copy(update={"limits": None, "budget": None})
    assert train_command(configured(), whole) == "mosdeploy train"
