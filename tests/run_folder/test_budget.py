"""One budget for a walk: what the supernet has of it, and what its winners."""

from pathlib import Path

import pytest
from walking import edit, make_run_folder, opened

from mosdeploy.errors import StaleInputError
from mosdeploy.family import supernet_share
from mosdeploy.records import TrainingBudget
from mosdeploy.run_folder.budget import split_steps, with_budget
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import write_record


@pytest.mark.parametrize("num_winners", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("steps", [200, 3000, 40_001])
def test_nothing_is_spent_beyond_a_budget(steps: int, num_winners: int) -> None:
    found = split_steps(steps, num_winners)
    spent = found.supernet_steps + num_winners * found.winner_steps
    # less than one step of each winner is left over
    assert steps - num_winners < spent <= steps
    assert found.num_winners == num_winners


def test_the_share_grows_with_the_winners() -> None:
    shares = [supernet_share(number) for number in range(1, 200)]
    assert shares == sorted(shares)
    assert (shares[0], shares[3], shares[-1]) == pytest.approx((0.07, 0.38, 0.5))
    # and yet a winner's own part never grows
    steps = [split_steps(10_000, number).winner_steps for number in range(1, 50)]
    assert steps == sorted(steps, reverse=True)


def test_a_budget_replaces_the_steps(tmp_path: Path) -> None:
    run = open_run(make_run_folder(tmp_path))
    assert with_budget(run, None) is run
    budget = TrainingBudget(num_winners=2, supernet_steps=24, winner_steps=70)
    config = with_budget(run, budget).config
    # the run file warms up for 4 of its 12 steps, and validates at the sixth
    assert (config.training.steps, config.training.warmup_steps) == (24, 8)
    assert config.training.validate_every == 12
    assert config.finetune.steps == 70
    assert not config.finetune.same_time
    one = budget.model_copy(update={"supernet_steps": 1})
    assert with_budget(run, one).config.training.validate_every == 1


def test_validations_of_a_time_are_those_of_the_run_files_budget(tmp_path: Path) -> None:
    make_run_folder(tmp_path)
    edit(tmp_path / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 12\nbudget = 100")
    run = open_run(tmp_path)
    assert with_budget(run, split_steps(100)).config.training.validate_every == 6
    budget = TrainingBudget(num_winners=1, supernet_steps=14, winner_steps=186)
    # 7 of the 100 steps were the supernet's
    assert with_budget(run, budget).config.training.validate_every == 12


def make_budgeted(root: Path) -> Path:
    """A run folder whose supernet is trained for 7 of 100 steps; returns its run file."""
    make_run_folder(root)
    path = root / "mosdeploy.toml"
    edit(path, "\nsteps = 12", "\nsteps = 12\nbudget = 100")
    opened(root).train()
    return path


@pytest.mark.slow
def test_another_budget_is_another_training(tmp_path: Path) -> None:
    path = make_budgeted(tmp_path)
    opened(tmp_path).search(max_parameters=10**6, verify=False)
    before = "budget = 100"
    for now, steps in (("budget = 100\nnum_winners = 2", 27), ("", 12), ("budget = 120", 8)):
        edit(path, f"steps = 12\n{before}", f"steps = 12\n{now}")
        before = now
        run = opened(tmp_path)
        for verb in (lambda: run.search(max_parameters=10**6, verify=False), run.finetune):  # noqa: B023
            with pytest.raises(StaleInputError, match=rf"training\.steps was 7, is {steps} now"):
                verb()
        assert {x.what: x.state for x in run.status().parts}["supernet"] == "stale"
        assert run.report().page.exists()
    run.train()
    run.search(max_parameters=10**6, verify=False)
    assert run.finetune().steps == 112


@pytest.mark.slow
def test_a_budget_that_leaves_the_supernet_its_steps_is_that_of_the_winner(tmp_path: Path) -> None:
    path = make_budgeted(tmp_path)
    card = opened(tmp_path).train()
    edit(path, "budget = 100", "budget = 101")
    run = opened(tmp_path)
    assert run.train() == card
    assert run.finetune("smallest").steps == 94


def test_a_supernet_trained_for_a_time_keeps_it(tmp_path: Path) -> None:
    path = make_budgeted(tmp_path)
    state = trained_run(open_run(tmp_path))
    assert state.card.budget is not None
    timed = state.card.budget.model_copy(update={"time_s": 60.0})
    write_record(state.files.supernet_card_path, state.card.model_copy(update={"budget": timed}))
    edit(path, "budget = 100", "budget = 400")
    state = trained_run(open_run(tmp_path))
    assert state.data.train
    assert state.config.finetune.steps == 93
