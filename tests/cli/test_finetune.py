"""`mosdeploy finetune`: what is trained alone, and which export takes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import ARCH, subnet_card

from mosdeploy.pipeline.finetune import FinetuneOptions
from mosdeploy.records import Scores, ScoreTable
from mosdeploy.run_folder.summaries import TaskSummary

FINETUNE = "finetune.finetune"


def test_losses_before_and_after_are_told(ask: Callable[..., Any]) -> None:
    done = ask(FINETUNE, subnet_card(), "finetune")
    assert done.arguments[1] == FinetuneOptions()
    losses = "validation loss 2.3457 to 2.1236"
    assert done.stdout == f"finetuned {ARCH.key}: 500 steps, {losses}\n"


@pytest.mark.parametrize(
    ("words", "weights", "command"),
    [
        ("--pick largest --steps 9", "finetuned", "mosdeploy export --pick largest"),
        ("--pick 18ms", "finetuned", "mosdeploy export --pick 18ms"),
        ("--from-scratch", "scratch", "mosdeploy export --weights scratch"),
    ],
)
def test_the_next_command_exports_just_this(
    ask: Callable[..., Any], words: str, weights: str, command: str
) -> None:
    done = ask(FINETUNE, subnet_card(weights=weights), "finetune", *words.split())
    assert done.stderr == f"next: {command}\n"


def test_after_the_winner_comes_what_status_proposes(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosdeploy.pipeline.status.following", lambda _: "mosdeploy evaluate")
    done = ask(FINETUNE, subnet_card(), "finetune")
    assert done.stderr == "next: mosdeploy evaluate\n"


def test_a_task_is_told_with_its_scores(ask: Callable[..., Any]) -> None:
    scores = Scores(
        arch=ARCH,
        num_parameters=9,
        metrics={"accuracy": 91.25, "macro F1": 90.0},
        loss=0.5,
        num_examples=40,
        weights="finetuned",
    )
    table = ScoreTable(supernet_sha256="s", data_sha256="d", subnets={"winner, finetuned": scores})
    done = TaskSummary(root="runs/sst2", subnet=subnet_card(), scores=table)
    words = "finetune --task tasks/sst2.toml --pick largest --steps 9"
    asked = ask("tasks.finetune_task", done, *words.split())
    assert asked.arguments[1:] == (Path("tasks/sst2.toml"), FinetuneOptions("largest", 9))
    assert asked.stdout.splitlines() == [
        f"finetuned {ARCH.key}: 500 steps, validation loss 2.1236",
        "  winner, finetuned: accuracy 91.2, macro F1 90.0 on 40 test examples",
    ]
    assert asked.stderr == "next: mosdeploy export --dir runs/sst2\n"
    scratch = done.model_copy(
        update={"root": "my runs/sst2", "subnet": subnet_card(weights="scratch")}
    )
    asked = ask("tasks.finetune_task", scratch, *words.split(), "--from-scratch")
    # weights that no export takes unasked
    assert asked.stderr == "next: mosdeploy export --dir 'my runs/sst2' --weights scratch\n"
    untested = done.model_copy(update={"scores": None})
    assert len(ask("tasks.finetune_task", untested, *words.split()).stdout.splitlines()) == 1
