"""When a training saves its state."""

from pathlib import Path

import pytest

from mosdeploy.training import save_clock
from mosdeploy.training.save_clock import MAX_SHARE, PERIOD_S, SaveClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, which only the test moves."""
    now = [100.0]
    monkeypatch.setattr(save_clock.time, "monotonic", lambda: now[0])
    return now


def test_a_state_is_due_when_asked_for_and_after_some_time(
    clock: list[float], tmp_path: Path
) -> None:
    saves = SaveClock()
    assert saves.are_due(asked=True)
    assert not saves.are_due(asked=False)
    clock[0] += PERIOD_S
    assert saves.are_due(asked=False)
    saves.save(tmp_path / "state.pt", {"step": 7})
    assert (tmp_path / "state.pt").exists()
    assert not saves.are_due(asked=False)


def test_a_state_that_takes_long_is_saved_less_often(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> None:
        clock[0] += 6.0

    monkeypatch.setattr(save_clock, "save_training_state", slow)
    saves = SaveClock()
    saves.save(tmp_path / "state.pt", {})
    clock[0] += 6.0 / MAX_SHARE - 1.0
    assert not saves.are_due(asked=False)
    clock[0] += 1.0
    assert saves.are_due(asked=False)
