"""`mosdeploy finetune`: what is trained alone, and which export takes it."""

from collections.abc import Callable
from typing import Any

import pytest
from answers import ARCH, subnet_card

from mosdeploy.run_folder.options import FinetuneOptions

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
    monkeypatch.setattr("mosdeploy.run_folder.status.next_command", lambda _: "mosdeploy evaluate")
    done = ask(FINETUNE, subnet_card(), "finetune")
    assert done.stderr == "next: mosdeploy evaluate\n"
