"""Which finalists a round measures and trains, and what the memory of those measured corrects."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from search_problem import MEDIUM

from mosdeploy.pipeline.finalist_timing import FinalistTiming
from mosdeploy.pipeline.verified import FinalistVerification
from mosdeploy.records import Candidate, Limits

ARCHS = list(dict.fromkeys(MEDIUM.sample(np.random.default_rng(i)) for i in range(40)))


def candidate(i: int, **changes: Any) -> Candidate:
    """The i-th best."""
    facts = {"predicted_ms": 9.0, "num_parameters": 1, "size_bytes": 1}
    return Candidate(arch=ARCHS[i], loss=float(i), **{**facts, **changes})


@pytest.fixture
def verified(tmp_path: Path) -> Any:
    """Make a verification within 10 ms and 40 bytes, whose predictor errs by more than the largest
    step.
    """

    def verified(
        ranked: Sequence[Candidate], measured: Sequence[Candidate], count: int = 2
    ) -> FinalistVerification:
        config = SimpleNamespace(
            search=SimpleNamespace(finalists=count), space=SimpleNamespace(genes=list)
        )
        context: Any = SimpleNamespace(config=config)
        predictor: Any = SimpleNamespace(to_rows=list, half_width=lambda rows: [0.6] * len(rows))
        evolution: Any = SimpleNamespace(ranked=tuple(ranked), front=tuple(ranked))
        evolve: Any = None
        timing = FinalistTiming(context, "dev", noise=0.05)
        limits = Limits(max_latency_ms=10.0, max_memory_bytes=40)
        return FinalistVerification(
            timing, limits, evolution, predictor, evolve, measured=list(measured)
        )

    return verified


@pytest.mark.parametrize(("attempt", "last_ms"), [(1, 7.0), (2, 5.0), (3, 2.0)])
def test_each_round_goes_a_step_further_below_the_limit(
    verified: Any, attempt: int, last_ms: float
) -> None:
    ranked = [candidate(i, predicted_ms=10.0 - i) for i in range(10)]
    chosen = verified(ranked, [])._next_finalists(attempt)
    assert [c.predicted_ms for c in chosen] == [10.0, last_ms]


def test_better_ones_are_measured_if_they_may_keep_the_limit_by_the_noise(verified: Any) -> None:
    ranked = [candidate(i, predicted_ms=ms) for i, ms in enumerate((9.6, 9.5, 5.0, 4.0))]
    safe = ranked[2].model_copy(update={"measured_ms": 5.0, "measured_memory_bytes": 40})
    assert verified(ranked, [safe])._next_finalists(2) == [ranked[1]]


def test_the_most_memory_above_what_was_predicted_is_the_excess(verified: Any) -> None:
    pairs = [(42, 40), (45, 35), (39, 38)]
    measured = [
        candidate(i, measured_memory_bytes=taken, memory_bytes=predicted)
        for i, (taken, predicted) in enumerate(pairs)
    ]
    assert verified([], measured)._measured_excess() == 10
    # all within the limit: nothing to correct
    assert verified([], measured[2:])._measured_excess() == 0


def test_the_best_and_of_the_others_the_largest_are_trained(verified: Any) -> None:
    sizes = (1, 2, 3, 5, 4, 6)
    measured = [
        candidate(i, measured_ms=9.0, num_body_parameters=size) for i, size in enumerate(sizes)
    ]
    # the largest one takes too long
    measured[5] = measured[5].model_copy(update={"measured_ms": 9.9})
    trained: list[Any] = []

    def train(archs: Sequence[Any]) -> list[float]:
        trained.extend(archs)
        return [1.0 for _ in archs]

    verified([], measured, count=3)._train_finalists(train)
    assert trained == [ARCHS[0], ARCHS[1], ARCHS[3]]


def test_what_was_measured_is_not_among_the_better_ones(verified: Any) -> None:
    ranked = [candidate(i) for i in range(4)]
    slow = ranked[0].model_copy(update={"measured_ms": 11.0})
    safe = ranked[3].model_copy(update={"measured_ms": 9.0})
    assert verified(ranked, [slow, safe])._next_finalists(2) == ranked[1:3]
