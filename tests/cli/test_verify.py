"""`mosdeploy verify`: what it asks for, what it tells, and its exit code."""

from collections.abc import Callable
from typing import Any

import pytest
from answers import deployment

from mosdeploy.pipeline.deploy import DeployOptions
from mosdeploy.pipeline.summaries import Verification

VERIFY = "verify.verify"


def verification(limit_ms: float) -> Verification:
    made = deployment()
    assert made.measurement.total is not None
    kept = made.measurement.total.median_ms <= limit_ms
    return Verification(deployment=made, measurement=made.measurement, limit_ms=limit_ms, kept=kept)


@pytest.mark.parametrize(("limit_ms", "word", "code"), [(150.0, "kept", 0), (99.0, "NOT kept", 7)])
def test_a_limit_decides_the_exit_code(
    ask: Callable[..., Any], limit_ms: float, word: str, code: int
) -> None:
    words = f"verify --device rpi --host pi2 --max-latency {limit_ms:g}ms".split()
    done = ask(VERIFY, verification(limit_ms), *words)
    assert done.arguments[1:] == (DeployOptions("rpi", "pi2"), limit_ms)
    assert done.stdout == (
        "en-de-small on pi2:/home/pi/mosdeploy: self-test passed, 121.50 ms median, "
        f"122.50 ms p90, limit {limit_ms:g} ms {word}\n"
    )
    assert done.exit_code == code


def test_without_options_all_is_as_it_was_deployed(ask: Callable[..., Any]) -> None:
    assert ask(VERIFY, verification(150.0), "verify").arguments[1:] == (DeployOptions(), None)
    told = ask(VERIFY, verification(99.0), "verify", "--json")
    assert Verification.model_validate_json(told.stdout) == verification(99.0)
    assert told.exit_code == 7
