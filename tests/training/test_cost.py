import dataclasses
import os
import platform
import resource
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.errors import ConfigError, MosdeployError
from mosdeploy.families.translation.dataset import made_up_dataset
from mosdeploy.families.translation.elastic import fresh_supernet
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.training import cost, trainer
from mosdeploy.training.cost import CostTask, peak_resident_bytes, step_seconds, training_cost

CONFIG = TrainingConfig(tokens_per_batch=64, grad_accum_steps=2, compute="cpu", threads=1)


def task(
    space: TranslationSpace, training: TrainingConfig, num_tokens: int, num_timed: int
) -> CostTask:
    return CostTask(
        fresh=partial(fresh_supernet, space, 16, seed=training.seed),
        supernet=SupernetConfig(router_hidden_dim=8),
        training=training,
        examples=made_up_dataset(16, num_tokens, training.tokens_per_batch),
        num_timed=num_timed,
    )


@pytest.mark.slow
def test_a_trial_counts_what_training_holds(space: TranslationSpace) -> None:
    tried = task(space, CONFIG, num_tokens=7, num_timed=2)
    cost = training_cost(tried)
    parameters = list(tried.fresh(tried.supernet).parameters())
    assert cost.num_parameters == sum(p.numel() for p in parameters)
    assert cost.parameters_bytes == 4 * cost.num_parameters
    assert cost.optimizer_bytes == 8 * cost.num_parameters
    assert cost.peak_bytes > cost.parameters_bytes + cost.optimizer_bytes
    # three architectures read two batches each of eight pairs, seven tokens and an end
    assert cost.num_targets == 3 * 2 * (64 // 8) * 8
    assert cost.step_s > 0


@pytest.mark.slow
def test_an_error_of_the_trial_comes_back(space: TranslationSpace) -> None:
    with pytest.raises(ConfigError, match=r"tokens_per_batch = 64 cannot hold"):
        training_cost(task(space, CONFIG, num_tokens=64, num_timed=1))


def killed(_: SupernetConfig) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.slow
def test_a_trial_that_is_killed_is_told(space: TranslationSpace) -> None:
    tried = dataclasses.replace(task(space, CONFIG, num_tokens=7, num_timed=1), fresh=killed)
    with pytest.raises(MosdeployError, match="was killed, perhaps for want of memory"):
        training_cost(tried)


@pytest.mark.slow
def test_a_trial_ends_once_its_time_is_over(
    space: TranslationSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    advance = trainer._Run.advance

    def counted(run: trainer._Run, *given: Any) -> Any:
        made.append(run.step)
        return advance(run, *given)

    monkeypatch.setattr(trainer._Run, "advance", counted)
    tried = task(space, CONFIG, num_tokens=7, num_timed=10)
    assert step_seconds(tried) > 0
    assert len(made) == 12
    made.clear()
    # one that warms up, and one that is timed
    assert step_seconds(dataclasses.replace(tried, max_time_s=1e-6)) > 0
    assert len(made) == 2


@pytest.mark.parametrize(("system", "counted"), [("Darwin", 3_000_000), ("FreeBSD", 2930)])
def test_peak_memory_is_known_without_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, counted: int
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=counted))
    # 3,000,000 bytes are 2,929.7 KiB
    assert peak_resident_bytes(tmp_path / "status") == pytest.approx(3_000_000, abs=1024)


def test_the_time_of_a_step_is_scaled_to_all_its_batches(
    space: TranslationSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    monkeypatch.setattr(
        cost, "_median_step_s", lambda task, net, batches: tried.append(batches) or 0.5
    )
    for batches in (1, 2, 10):
        training = CONFIG.model_copy(update={"grad_accum_steps": batches})
        found = step_seconds(task(space, training, num_tokens=7, num_timed=1))
        assert found == pytest.approx(0.5 * batches / min(batches, 2))
    assert tried == [1, 2, 2]
