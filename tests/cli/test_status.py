"""`mosdeploy status`: one table, and the next command."""

import json
from collections.abc import Callable
from typing import Any

from mosdeploy.run_folder.summaries import Part, RunStatus

FOUND = RunStatus(
    root=".",
    parts=(
        Part(what="data", state="ok", detail="10 train"),
        Part(what="supernet", state="stale", detail="other data", command="mosdeploy train"),
        Part(what="bundle", state="missing", command="mosdeploy export"),
    ),
    next_command="mosdeploy train",
)


def test_every_part_has_a_line(ask: Callable[..., Any]) -> None:
    done = ask("status.status", FOUND, "status")
    assert [line.split() for line in done.stdout.splitlines()[2:]] == [
        ["data", "ok", "10", "train"],
        ["supernet", "stale", "other", "data"],
        ["bundle", "missing", "run", "`mosdeploy", "export`"],
    ]
    assert done.stderr == "next: mosdeploy train\n"


def test_data_that_cannot_be_read_are_mended_first(ask: Callable[..., Any]) -> None:
    data = Part(what="data", state="stale", detail="data/train.en: no such file")
    done = ask("status.status", RunStatus(root=".", parts=(data,), next_command=None), "status")
    assert done.stdout.splitlines()[-1].startswith("first mend the data")
    assert "first" not in ask("status.status", FOUND, "status").stdout


def test_json_is_the_record(ask: Callable[..., Any]) -> None:
    done = ask("status.status", FOUND, "status", "--json")
    assert json.loads(done.stdout)["parts"][1]["detail"] == "other data"
