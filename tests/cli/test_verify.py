"""`mosdeploy verify`: what it asks for, what it tells, and its exit code."""

from collections.abc import Callable
from typing import Any

import pytest
from answers import deployment

from mosdeploy.run_folder.options import VerifyOptions
from mosdeploy.run_folder.summaries import Verification

VERIFY = "verify.verify"


def verification(limit_ms: float | None, max_memory_bytes: int | None = None) -> Verification:
    made = deployment()
    taken = made.measurement.model_copy(update={"memory_bytes": 30 * 2**20})
    assert taken.total is not None and taken.memory_bytes is not None
    kept = limit_ms is None or taken.total.median_ms <= limit_ms
    kept &= max_memory_bytes is None or taken.memory_bytes <= max_memory_bytes
    return Verification(
        deployment=made,
        measurement=taken,
        limit_ms=limit_ms,
        max_memory_bytes=max_memory_bytes,
        kept=kept,
    )


@pytest.mark.parametrize(("limit_ms", "word", "code"), [(150.0, "kept", 0), (99.0, "NOT kept", 7)])
def test_a_limit_decides_the_exit_code(
    ask: Callable[..., Any], limit_ms: float, word: str, code: int
) -> None:
    words = f"verify --device rpi@pi2 --max-latency {limit_ms:g}ms".split()
    done = ask(VERIFY, verification(limit_ms), *words)
    assert done.arguments[1] == VerifyOptions(f"{limit_ms:g}ms", device="rpi@pi2")
    assert done.stdout == (
        "en-de-small on pi2:/home/pi/mosdeploy: self-test passed, 122 ms median, "
        f"122 ms p90, limit {limit_ms:g} ms {word}\n"
    )
    assert done.exit_code == code


@pytest.mark.parametrize(("most", "word", "code"), [(40, "kept", 0), (29.5, "NOT kept", 7)])
def test_memory_is_a_limit_like_the_other(
    ask: Callable[..., Any], most: float, word: str, code: int
) -> None:
    num_bytes = int(most * 2**20)
    done = ask(VERIFY, verification(None, num_bytes), "verify", "--max-memory", f"{most:g}MiB")
    assert done.arguments[1] == VerifyOptions(max_memory=f"{most:g}MiB")
    told = f"122 ms p90, 30.0 MiB of memory, limit {most:g} MiB {word}\n"
    assert done.stdout.endswith(told)
    assert done.exit_code == code


def test_without_options_all_is_as_it_was_deployed(ask: Callable[..., Any]) -> None:
    assert ask(VERIFY, verification(150.0), "verify").arguments[1] == VerifyOptions()
    told = ask(VERIFY, verification(99.0), "verify", "--json")
    assert Verification.model_validate_json(told.stdout) == verification(99.0)
    assert told.exit_code == 7
