"""Subnets that have as many steps as take as long as those of one of middling work."""

from pathlib import Path

import pytest
from walking import KeptProgress, edit, opened

from mosdeploy.pipeline import same_time as module
from mosdeploy.pipeline.finalist_training import FinalistTraining
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.same_time import own_steps
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.genes import ArchConfig


@pytest.fixture
def timed(folder: Path) -> Path:
    """A run folder whose [finetune] is for a time."""
    path = folder / "mosdeploy.toml"
    path.write_text(f"{path.read_text()}\n[finetune]\nsteps = 10\nsame_time = true\n")
    return folder


def steps_of(root: Path, name: str, progress: KeptProgress | None = None) -> int:
    state = trained_run(open_run(root))
    return own_steps(state, state.arch(name), progress or KeptProgress())


def test_a_cheaper_subnet_has_more_steps(timed: Path) -> None:
    progress = KeptProgress()
    smallest, largest = (steps_of(timed, name, progress) for name in ("smallest", "largest"))
    assert 5 <= largest < smallest <= 30
    told = f"{largest} steps of this subnet take as long as 10 of one of middling work"
    assert progress.messages[-1] == told
    state = trained_run(open_run(timed))
    assert own_steps(state, state.spec.reference_arch(), progress) == 10
    edit(timed / "mosdeploy.toml", "same_time = true", "same_time = false")
    assert steps_of(timed, "smallest") == 10


def test_a_subnet_is_timed_once(timed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []

    def turn(state: TrainedRun, archs: tuple[ArchConfig, ArchConfig]) -> float:
        turns.append(archs)
        return 2.0

    monkeypatch.setattr(module, "_turn", turn)
    # a search trains its first steps, and a finetuning all
    state = trained_run(open_run(timed))
    FinalistTraining(state, 4, KeptProgress()).losses([state.arch("smallest")])
    progress = KeptProgress()
    assert opened(timed, progress).finetune("smallest").steps == 20
    assert len([stage for stage, _ in progress.updates if stage == "finetune"]) == 20 - 4
    assert opened(timed).finetune("smallest", steps=3).steps == 3
    assert turns == [(state.spec.reference_arch(), state.arch("smallest"))] * module.TURNS
    # with other batches, a step takes another time
    path = next((timed / "search" / "step-ratios").iterdir())
    edit(path, '"ratio": 2.0', '"ratio": 7.0')
    assert steps_of(timed, "smallest") == 10 * module.MOST
    edit(path, '"inputs_sha256": "', '"inputs_sha256": "0')
    assert steps_of(timed, "smallest") == 20
