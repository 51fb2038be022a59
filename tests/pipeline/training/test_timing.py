"""How many steps a time is enough for."""

import math
from pathlib import Path

import pytest
from walking import KeptProgress, edit, make_run_folder, opened

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.pipeline.training import timing as module
from mosdeploy.pipeline.training.timing import split_time
from mosdeploy.records import TrainingBudget
from mosdeploy.run_folder.budget import with_budget
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run


def test_a_time_is_split_by_hand() -> None:
    """0.07 of the steps at 0.3 s, the rest at 0.1 s: 0.114 s each, 1,000 of them in 114 s."""
    found = split_time(114.01, 1, supernet_step_s=0.3, winner_step_s=0.1)
    assert (found.supernet_steps, found.winner_steps) == (70, 930)
    assert (found.time_s, found.supernet_step_s, found.winner_step_s) == (114.01, 0.3, 0.1)
    with pytest.raises(
        ConfigError,
        match=r"0\.2 s are not enough: .* 40 steps are .* give --time 6s or more",
    ):
        split_time(0.2, 1, supernet_step_s=0.3, winner_step_s=0.1)


@pytest.mark.slow
def test_a_time_is_turned_into_steps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.split_time
    timed: list[float] = []

    def slow(time_s: float, num_winners: int, **step_s: float) -> TrainingBudget:
        assert all(math.isfinite(seconds) and seconds > 0 for seconds in step_s.values())
        timed.append(time_s)
        return real(time_s, num_winners, supernet_step_s=0.3, winner_step_s=0.1)

    monkeypatch.setattr(module, "split_time", slow)
    make_run_folder(tmp_path)
    progress = KeptProgress(stop_at=5)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, progress).train(time="11.5s")
    told = "11.5 s: 7 steps of the supernet and 93 of each winner, expected from 0.300 s and 0.100"
    assert any(line.startswith(told) for line in progress.messages)
    path = tmp_path / "mosdeploy.toml"
    edit(path, "learning_rate = 5e-3", "learning_rate = 4e-3")
    with pytest.raises(StaleInputError, match=r"learning_rate was 0\.005, is 0\.004 now"):
        opened(tmp_path).train(time="11.5s")
    assert timed.pop() == 11.5
    # set back, it goes on with its own steps; another key has no effect on the weights
    edit(path, "learning_rate = 4e-3", "learning_rate = 5e-3")
    edit(path, "checkpoint_every = 4", "checkpoint_every = 3")
    card = opened(tmp_path).train(time="11.5s")
    assert timed == [11.5]
    assert card.steps == 7
    assert card.budget is not None
    assert card.budget.winner_steps == 93
    # or as many as take as long
    assert with_budget(open_run(tmp_path), card.budget).config.finetune.same_time
    # steps of another network take other times
    edit(path, "max_tokens = 24", "max_tokens = 23")
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, KeptProgress(stop_at=1)).train(time="11.5s")
    assert timed == [11.5, 11.5]


def test_steps_that_a_time_replaces_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split(time_s: float, num_winners: int, **_: float) -> TrainingBudget:
        return split_time(time_s, num_winners, supernet_step_s=0.1, winner_step_s=0.1)

    monkeypatch.setattr(module, "split_time", split)
    make_run_folder(tmp_path)
    path = tmp_path / "mosdeploy.toml"
    card = opened(tmp_path).train(time="6s")
    assert card.budget is not None
    # the run file warms up for a third of its steps
    assert (card.steps, card.budget.warmup_steps) == (4, 1)
    edit(path, "\nsteps = 12", "\nsteps = 40\nbudget = 100")
    assert trained_run(open_run(tmp_path)).data.train
    assert opened(tmp_path).train(time="6s") == card
