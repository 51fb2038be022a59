"""`mosdeploy search`: its limits, and how a winner is told."""

import json
import re
from collections.abc import Callable
from typing import Any

from answers import ARCH, candidate, search_result

from mosdeploy.records import Limits, SearchResult

SEARCH = "search.search"


def test_a_winner_is_told_with_its_limit(ask: Callable[..., Any]) -> None:
    done = ask(SEARCH, search_result(), "search", "--max-latency", "150ms")
    assert done.stdout.splitlines() == [
        f"winner {ARCH.key}: {ARCH}",
        "  validation loss 2.3457, 1,234,567 parameters",
        "  1,500 subnets evaluated",
        "  predicted 120 ms, measured 122 ms on the device, limit 150 ms kept",
    ]
    assert done.stderr == "next: mosdeploy finetune\n"


def test_corrected_predictions_are_told_as_such(ask: Callable[..., Any]) -> None:
    other = candidate(arch=ARCH.model_copy(update={"encoder_embed_dim": 8}), predicted_ms=100.0)
    told = ask(SEARCH, search_result(front=(other, candidate()), level=1.25), "search").stdout
    assert "  corrected prediction 120 ms, measured 122 ms on the device" in told
    assert re.search("^--pick +corrected prediction +measured ", told, re.MULTILINE)


def test_memory_is_told_as_measured_too(ask: Callable[..., Any]) -> None:
    found = search_result()
    memory = {"memory_bytes": 3 * 2**19, "measured_memory_bytes": 2 * 2**20}
    changes = {
        "winner": found.winner.model_copy(update=memory),
        "limits": Limits(max_memory_bytes=3 * 2**20),
    }
    done = ask(SEARCH, found.model_copy(update=changes), "search")
    assert ", 1.5 MiB of memory (2.0 MiB measured)" in done.stdout


def test_a_front_is_told_by_a_few_of_its_members(ask: Callable[..., Any]) -> None:
    small = candidate(arch=ARCH.model_copy(update={"encoder_embed_dim": 8}), measured_ms=None)
    members = tuple(
        small.model_copy(update={"predicted_ms": 100.0 + i, "loss": 3.0 - 0.1 * i})
        for i in range(19)
    )
    found = search_result(front=(*members, candidate(loss=1.1)))
    told = ask(SEARCH, found, "search").stdout.splitlines()
    rows = [line.split() for line in told[-8:]]
    assert told[-10].split()[:4] == ["--pick", "predicted", "measured", "validation"]
    assert rows[0][:5] == ["1", "100", "ms", "-", "3.0000"]
    assert rows[-1][:6] == ["20", "120", "ms", "122", "ms", "1.1000"]  # it was a finalist
    assert "*" not in "".join(told[1:])
    wider = members[0].model_copy(update={"base_loss": 2.95})
    told = ask(SEARCH, search_result(front=(wider, members[1])), "search").stdout.splitlines()
    assert [line.split()[4] for line in told[-3:-1]] == ["3.0000*", "2.9000"]
    assert told[-1].startswith("* more layers or wider FFNs than one of lower loss")
    unpriced = tuple(
        small.model_copy(update={"predicted_ms": None, "loss": loss}) for loss in (3.0, 2.0)
    )
    told = ask(SEARCH, search_result(front=unpriced), "search").stdout.splitlines()
    assert [line.split()[:4] for line in told[-2:]] == [
        ["1", "-", "-", "3.0000"],
        ["2", "-", "-", "2.0000"],
    ]


def test_a_winner_that_was_not_measured_is_a_prediction(ask: Callable[..., Any]) -> None:
    result = search_result(winner=candidate(measured_ms=None))
    assert "NOT measured (--no-verify)" in ask(SEARCH, result, "search").stdout
    result = search_result(winner=candidate(measured_ms=None, predicted_ms=None))
    assert "predicted" not in ask(SEARCH, result, "search").stdout


def test_json_is_the_result(ask: Callable[..., Any]) -> None:
    done = ask(SEARCH, search_result(), "search", "--json")
    assert SearchResult.model_validate_json(done.stdout) == search_result()
    assert json.loads(done.stdout)["winner"]["measured_ms"] == 121.5
    assert done.stderr == ""
