"""`mosdeploy evaluate`: a row a subnet, a column a metric."""

from collections.abc import Callable
from typing import Any

import pytest
from answers import score_table

EVALUATE = "evaluate.evaluate"


def test_metrics_of_the_family_are_columns(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ask(EVALUATE, score_table(largest=30.12, smallest=20.08), "evaluate")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["subnet", "BLEU", "chrF", "validation", "loss", "parameters"]
    assert lines[2] == ["largest", "30.1", "60.2", "2.346", "1,234,567"]
    assert lines[3][:3] == ["smallest", "20.1", "40.2"]
    monkeypatch.setattr("mosdeploy.run_folder.status.next_command", lambda _: "mosdeploy export")
    done = ask(EVALUATE, score_table(largest=30.12), "evaluate")
    assert done.stderr == "next: mosdeploy export\n"
