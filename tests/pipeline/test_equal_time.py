"""Subnets that are trained for the same time: their steps, and searches that weigh these."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import mosdeploy
from walking import KeptProgress, edit, lines_of, opened

from mosdeploy.config import load_recipe
from mosdeploy.families import load_family
from mosdeploy.pipeline.equal_time import (
    LEAST,
    MOST,
    OPTIMIZER_MACS,
    StepTimePenalty,
    step_time_penalty,
    step_work,
    steps_for,
)
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run


@pytest.fixture
def timed(folder: Path) -> Path:
    """A run folder whose [finetune] is for a time."""
    path = folder / "mosdeploy.toml"
    finetune = "steps = 24\nsame_time = true\ninherited_share = 0.4\n"
    path.write_text(f"{path.read_text()}\n[finetune]\n{finetune}")
    return folder


@pytest.mark.parametrize("recipe", ["tiny", "minilm-l6"])
def test_the_work_of_a_step_by_hand(recipe: str) -> None:
    """Three passes of each example, and an update of each parameter; a beam is no part of it."""
    config = load_recipe(recipe)
    family = load_family(config.family)
    spec = config.spec
    arch = spec.space.smallest
    num_examples = len(family.made_up_dataset(config)) * config.training.grad_accum_steps
    expected = 3 * num_examples * spec.num_macs(arch) + OPTIMIZER_MACS * spec.num_parameters(arch)
    assert step_work(config, family)(arch) == expected
    changes = {"beam": 4} if recipe == "tiny" else {"batch": 8}
    more = config.model_copy(update={"workload": config.workload.changed(changes)})
    assert step_work(more, family)(arch) == expected


def test_a_smaller_subnet_has_more_steps_within_bounds(timed: Path) -> None:
    state = trained_run(open_run(timed))
    progress = KeptProgress()
    reference = state.spec.reference_arch()
    assert steps_for(state, reference, progress) == 24
    steps = [steps_for(state, state.arch(x), progress) for x in ("smallest", "largest")]
    assert LEAST * 24 <= steps[1] < 24 < steps[0] <= MOST * 24
    assert any("stand for 24 of the reference" in line for line in progress.messages)
    edit(timed / "mosdeploy.toml", "same_time = true", "same_time = false")
    state = trained_run(open_run(timed))
    assert steps_for(state, state.arch("smallest"), progress) == 24
    # the largest may be a teacher, which has its steps whatever they take
    edit(timed / "mosdeploy.toml", "same_time = false", "same_time = true")
    assert opened(timed).finetune("largest").steps == 24


def loss_at(folder: Path, losses: dict[int, float]) -> None:
    """Write what the supernet's validation loss was, with ends that lie 0.2 apart."""
    path = folder / "supernet" / "log.jsonl"
    lines = [json.loads(line) for line in lines_of(path)]
    for line in lines:
        loss = losses.get(line["step"])
        line["largest_loss"] = None if loss is None else loss - 0.1
        line["smallest_loss"] = None if loss is None else loss + 0.1
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def found(
    folder: Path, progress: KeptProgress | None = None
) -> tuple[TrainedRun, StepTimePenalty | None]:
    state = trained_run(open_run(folder))
    return state, step_time_penalty(state, progress or KeptProgress())


def test_a_step_is_worth_what_the_last_half_of_them_was(timed: Path) -> None:
    loss_at(timed, {3: 4.0, 6: 3.5, 12: 3.0})
    progress = KeptProgress()
    state, of = found(timed, progress)
    assert of is not None
    assert of.loss_per_log_step == pytest.approx(0.5 / math.log(2))
    assert "a tenth longer counts as a loss higher by 0.069" in progress.messages[-1]
    work = step_work(state.config, state.family)
    reference = work(state.spec.reference_arch())
    rng = np.random.default_rng(5)
    for _ in range(20):
        arch = state.spec.space.sample(rng)
        expected = of.loss_per_log_step * math.log(work(arch) / reference)
        assert of(arch) == pytest.approx(expected, abs=1e-6)


def stepped(of: StepTimePenalty, relative: float, most_steps: float = 1e6) -> float:
    """What is added where a step takes so many times as long as one of the reference."""
    same = dataclasses.replace(of, most_steps=most_steps, step_time=lambda _: relative)
    return same(load_recipe("tiny").space.smallest)


def test_steps_that_no_winner_has_are_worth_nothing(timed: Path) -> None:
    loss_at(timed, {6: 3.5, 12: 3.0})
    _, of = found(timed)
    assert of is not None
    worth = of.loss_per_log_step
    assert stepped(of, 0.5) == pytest.approx(-worth * math.log(2))
    assert stepped(of, 0.1) == pytest.approx(-worth * math.log(MOST))
    assert stepped(of, 9.0) == pytest.approx(-worth * math.log(LEAST))
    # 48 steps of which 30 count, and 12 beside 20
    assert stepped(of, 0.5, most_steps=30) == pytest.approx(-worth * math.log(30 / 24))
    assert stepped(of, 2.0, most_steps=20) == pytest.approx(worth * math.log(20 / 12))


def test_many_reads_of_the_data_are_worth_nothing(timed: Path) -> None:
    loss_at(timed, {6: 3.5, 12: 3.0})
    _, of = found(timed)
    assert of is not None
    edit(timed / "mosdeploy.toml", "steps = 24", f"steps = {math.ceil(of.most_steps / 0.5)}")
    assert found(timed)[1] is None


@pytest.mark.parametrize(
    ("losses", "old", "new", "told"),
    [
        ({12: 3.0}, "", "", True),
        ({6: 3.0, 12: 3.1}, "", "", False),
        ({6: 3.5, 12: 3.0}, "steps = 24", "steps = 23", False),
        ({6: 3.5, 12: 3.0}, "same_time = true", "same_time = false", False),
        ({6: 3.5, 12: 3.0}, "inherited_share = 0.4", "inherited_share = 1.0", False),
    ],
    ids=[
        "validated once",
        "no longer falling",
        "long supernet",
        "same steps",
        "all inherited",
    ],
)
def test_time_that_is_worth_nothing(
    timed: Path, losses: dict[int, float], old: str, new: str, told: bool
) -> None:
    path = timed / "mosdeploy.toml"
    path.write_text(path.read_text().replace(old, new))
    loss_at(timed, losses)
    progress = KeptProgress()
    assert found(timed, progress)[1] is None
    assert any("validate_every" in line for line in progress.messages) == told


def test_a_log_that_cannot_be_read_ends_no_search(timed: Path) -> None:
    assert found(timed)[1] is not None
    path = timed / "supernet" / "log.jsonl"
    path.write_text(path.read_text().replace('"step":3,', '"step":"x",'))
    assert found(timed)[1] is None
    path.unlink()
    assert found(timed)[1] is None


def test_the_penalty_is_added_to_each_finite_loss(timed: Path) -> None:
    loss_at(timed, {6: 3.5, 12: 3.0})
    state, of = found(timed)
    assert of is not None
    fast, slow = state.arch("smallest"), state.arch("largest")
    losses = of.added(lambda archs: [2.0, None])
    assert list(losses([fast, slow])) == [2.0 + of(fast), None]


@pytest.mark.slow
def test_a_search_takes_what_trains_fast(timed: Path) -> None:
    # worth so much that depth decides
    loss_at(timed, {6: 300.0, 12: 3.0})
    result = opened(timed).search("10s", verify=False)
    state = trained_run(open_run(timed))
    assert state.spec.space.depths(result.winner.arch) == (1, 1)
    lines = map(json.loads, lines_of(timed / "search" / "quality.jsonl"))
    inherited = [x["loss"] for x in lines if x["key"] == result.winner.arch.key and x["loss"]]
    time = result.winner.time_loss
    assert time is not None
    assert time < 0
    assert result.winner.loss - time == pytest.approx(inherited[-1])
    shown = mosdeploy("search", "--max-latency", "10s", "--no-verify", cwd=timed)
    assert f" with {time:+.4f} for the time of its training steps" in shown.stdout
