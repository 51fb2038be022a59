"""`mosdeploy distill`: who answers, and what is told of it."""

from collections.abc import Callable
from typing import Any

import pytest
from answers import distilled_card

from mosdeploy.pipeline.distill import DistillOptions

DISTILL = "distill.distill"


def test_how_many_answers_were_kept_is_told(ask: Callable[..., Any]) -> None:
    done = ask(DISTILL, distilled_card(), "distill")
    assert done.arguments[1] == DistillOptions()
    assert done.stdout == "990 of 1000 examples by largest, beam 5\n"
    assert done.stderr == "next: mosdeploy finetune\n"


@pytest.mark.parametrize(
    ("words", "options", "name"),
    [
        ("", DistillOptions("largest", None), "largest"),
        ("--teacher models/opus --beam 4", DistillOptions("models/opus", 4), "opus/"),
    ],
)
def test_a_teacher_is_a_name_or_a_folder(
    ask: Callable[..., Any], words: str, options: DistillOptions, name: str
) -> None:
    done = ask(DISTILL, distilled_card(), "distill", *words.split())
    assert done.arguments[1] == options
    assert options.name == name
