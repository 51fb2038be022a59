"""What one search asks its predictor and its limits, on a walked folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mosdeploy.pipeline.search import _SearchTask
from mosdeploy.records import Limits
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.predictors import predictor
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.spaces.genes import ArchConfig

Make = Callable[..., _SearchTask]


@pytest.fixture
def make(walked: Path) -> Make:
    """Make the task of a search on this machine; writes nothing."""
    run = open_run(walked)

    def make(limits: Limits, tail_ratio: float = 1.0) -> _SearchTask:
        found = predictor(run, "local")
        state = trained_run(run)
        return _SearchTask(Context(run), state, "local", limits, False, "p90", found, tail_ratio)

    return make


def larger_is_better(archs: Sequence[ArchConfig], incumbents: Sequence[Any]) -> list[float | None]:
    return [100.0 - len(str(arch)) for arch in archs]


def test_medians_are_turned_into_the_figure_and_the_level(make: Make) -> None:
    task = make(Limits(max_latency_ms=1e4), tail_ratio=1.5)
    space = task.context.config.space
    genes = space.genes([space.smallest, space.largest])
    oracle = task._oracle(larger_is_better, level=2.0)
    assert task.predictor is not None and oracle.predict_ms is not None
    np.testing.assert_allclose(oracle.predict_ms(genes), 3.0 * task.predictor.predict(genes))


def test_what_a_process_takes_besides_is_kept_free_of_candidates(make: Make) -> None:
    task = make(Limits(max_memory_bytes=10**9))
    space = task.context.config.space
    cost = task._oracle(larger_is_better, level=1.0).cost
    least, most = (cost(arch).memory_bytes for arch in (space.smallest, space.largest))
    excess_bytes = (most - least) // 2
    task = replace(task, limits=Limits(max_memory_bytes=most))
    taken = []
    for more in (0, excess_bytes):
        found, _ = task._evolve(larger_is_better, None, 1.0, more)
        taken.append(max(c.memory_bytes or 0 for c in found.ranked))
    assert taken[1] <= most - excess_bytes < taken[0] <= most
