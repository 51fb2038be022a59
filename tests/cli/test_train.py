"""`mosdeploy train`: a training, and a trial of what one costs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import run_folder

from mosdeploy.records import DryRun, SupernetCard, TrainingCost

CARD = SupernetCard(
    inputs={"data": "sha256:inputs"},
    space_sha256="space",
    data_sha256="data",
    tokenizer_sha256="tokenizer",
    supernet_sha256="supernet",
    steps=2000,
    vocab_size=1000,
    routing="neuron",
    num_experts=2,
    largest_loss=2.3456,
    smallest_loss=3.4567,
    train_seconds=60.0,
)


def cost(step_s: float) -> TrainingCost:
    return TrainingCost(
        num_parameters=1_234_567,
        parameters_bytes=5 * 2**20,
        optimizer_bytes=10 * 2**20,
        peak_bytes=300 * 2**20,
        step_s=step_s,
        num_targets=4000,
    )


@pytest.fixture
def measured_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder whose device was not profiled."""
    monkeypatch.setattr("mosdeploy.run_folder.status.next_command", lambda _: "mosdeploy profile")


@pytest.mark.usefixtures("measured_next")
def test_a_supernet_is_told_by_its_losses(ask: Callable[..., Any]) -> None:
    done = ask("train.train", CARD, "train")
    losses = "validation loss 2.346 (largest subnet), 3.457 (smallest)"
    assert done.stdout == f"supernet: 2000 steps, {losses}\n"
    assert done.stderr == "next: mosdeploy profile\n"


def test_a_dry_run_is_a_table_of_costs(ask: Callable[..., Any]) -> None:
    tried = DryRun(
        space_sha256="space",
        vocab_size=1000,
        steps=9000,
        costs={"none": cost(0.1), "configured": cost(0.2)},
    )
    done = ask("train.dry_run", tried, "train", "--dry-run")
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    sizes = ("5.0", "MiB", "10.0", "MiB", "300.0", "MiB")
    assert rows["none"] == ["none", "1,234,567", *sizes, "100", "1.00"]
    assert rows["configured"][-2:] == ["200", "2.00"]
    assert "9,000 steps of 4,000 targets, 36.0 million in all, about 30 min" in done.stdout
    assert done.stderr == "next: mosdeploy train\n"
    assert "teacher" not in done.stdout
    taught = tried.model_copy(update={"teacher_steps": 400, "teacher_s": 120.0})
    done = ask("train.dry_run", taught, "train", "--dry-run")
    assert "\nteacher: 400 steps before that, about 2 min" in done.stdout
    done = ask("train.dry_run", tried, "train", "--dry-run", "--time", "90m")
    assert done.arguments[1].time_s == 90 * 60
    assert done.stderr == "next: mosdeploy train --time 90m\n"


@pytest.mark.usefixtures("measured_next")
def test_a_folder_that_was_named_is_named_again(ask: Callable[..., Any], tmp_path: Path) -> None:
    elsewhere = tmp_path / "another one"
    elsewhere.mkdir()
    done = ask("train.train", CARD, "train", "-C", str(run_folder(elsewhere)))
    assert done.stderr == f"next: mosdeploy profile --dir '{elsewhere}'\n"
