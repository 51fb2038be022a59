"""Subnets that have as many steps as take as long as those of one of middling work."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from walking import KeptProgress, edit, opened

from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline import same_time as module
from mosdeploy.pipeline.same_time import own_steps, step_ratios
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
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


def test_both_are_timed(timed: Path) -> None:
    progress = KeptProgress()
    # how long a step takes here, no test can know
    assert 5 <= steps_of(timed, "smallest", progress) <= 30
    assert any("by turns" in line for line in progress.messages)
    state = trained_run(open_run(timed))
    assert own_steps(state, state.spec.reference_arch(), progress) == 10
    edit(timed / "mosdeploy.toml", "same_time = true", "same_time = false")
    assert steps_of(timed, "smallest") == 10


def kept(root: Path) -> dict[Path, bytes]:
    """What a finetuning writes."""
    folders = (root / "subnets", root / "search" / "step-ratios")
    return {x: x.read_bytes() for folder in folders for x in folder.rglob("*") if x.is_file()}


def test_a_refused_finetuning_changes_nothing(timed: Path) -> None:
    run = opened(timed)
    card = run.finetune("smallest")
    path = timed / "mosdeploy.toml"
    text = path.read_text()
    before = kept(timed)
    path.write_text(text.replace("[training]", "[training]\nlabel_smoothing = 0.2", 1))
    with pytest.raises(StaleInputError, match="label_smoothing was"):
        opened(timed).finetune("smallest")
    path.write_text(text)
    assert kept(timed) == before
    assert opened(timed).finetune("smallest") == card


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ArchConfig, ArchConfig]]:
    """What was timed; the reference takes twice as long as any other."""
    known = []

    def turn(state: TrainedRun, reference: ArchConfig, arch: ArchConfig) -> float:
        known.append((reference, arch))
        return 2.0

    monkeypatch.setattr(module, "_turn", turn)
    return known


def test_a_subnet_is_timed_once(timed: Path, turns: list[tuple[ArchConfig, ArchConfig]]) -> None:
    # by a search, and not again by a finetuning
    state = trained_run(open_run(timed))
    smallest = state.arch("smallest")
    step_ratios(state, [smallest], KeptProgress())
    progress = KeptProgress()
    assert opened(timed, progress).finetune("smallest").steps == 20
    told = f"20 steps of {smallest.key[:8]} stand for 10 of the reference architecture"
    assert told in progress.messages
    assert opened(timed).finetune("smallest", steps=3).steps == 3
    # which may be a teacher
    assert opened(timed).finetune("largest").steps == 10
    assert turns == [(state.spec.reference_arch(), smallest)] * module.TURNS


def test_a_killed_finetuning_keeps_its_steps(
    timed: Path, turns: list[tuple[ArchConfig, ArchConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(timed, KeptProgress(stop_at=12)).finetune("smallest")
    path = timed / "mosdeploy.toml"
    # neither changes what is trained
    edit(path, "checkpoint_every = 4", "checkpoint_every = 3")
    edit(path, "decode_steps = 6", "decode_steps = 16")
    monkeypatch.setattr(module, "_turn", lambda *_: 1.5)
    progress = KeptProgress()
    assert opened(timed, progress).finetune("smallest").steps == 20
    assert len([stage for stage, _ in progress.updates if stage == "finetune"]) <= 20 - 11


def test_a_trial_is_not_trusted_beyond_bounds(
    timed: Path, turns: list[tuple[ArchConfig, ArchConfig]]
) -> None:
    assert steps_of(timed, "smallest") == 20
    path = next((timed / "search" / "step-ratios").iterdir())
    progress = KeptProgress()
    edit(path, '"ratio": 2.0', '"ratio": 7.0')
    assert steps_of(timed, "smallest", progress) == 30
    assert progress.messages[-1].endswith("(not 7.00 times as many: 0.5 to 3 are)")
    edit(path, '"ratio": 7.0', '"ratio": 0.1')
    assert steps_of(timed, "smallest") == 5
    edit(path, '"ratio": 0.1', '"ratio": -1')
    assert steps_of(timed, "smallest") == 20  # timed anew


def test_a_ratio_that_another_command_found_meanwhile_stays(
    timed: Path, turns: list[tuple[ArchConfig, ArchConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = trained_run(open_run(timed))
    smallest = state.arch("smallest")
    path = state.files.step_ratio_path(smallest.key)
    assert step_ratios(state, [smallest], KeptProgress()) == [2.0]
    found = path.read_text()
    path.unlink()

    def other(*_: object) -> float:
        path.write_text(found)
        return 1.5

    monkeypatch.setattr(module, "_turn", other)
    assert step_ratios(state, [smallest], KeptProgress()) == [2.0]
    assert path.read_text() == found


def test_ratios_to_two_references_are_not_mixed(
    timed: Path, turns: list[tuple[ArchConfig, ArchConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = trained_run(open_run(timed))
    ends = [state.arch("smallest"), state.arch("largest")]
    assert step_ratios(state, ends[:1], KeptProgress()) == [2.0]
    path = state.files.step_ratio_path(ends[0].key)
    old = json.loads(path.read_text())
    # another reference, of a workload or limits that changed since, whose steps take less time
    monkeypatch.setattr(module, "reference", lambda _: ends[1])
    monkeypatch.setattr(module, "_turn", lambda *_: 1.5)
    for _ in range(2):
        assert step_ratios(state, ends, KeptProgress()) == [1.5, 1.0]
        monkeypatch.setattr(module, "_turn", lambda *_: 9.0)  # it is timed once
    # what was trained for a time keeps its steps
    assert steps_of(timed, "smallest") == 20
    # of an earlier mosdeploy, that did not say what the ratio is of
    path.write_text(json.dumps({key: old[key] for key in ("version", "inputs_sha256", "ratio")}))
    assert steps_of(timed, "smallest") == 20
    assert step_ratios(state, ends, KeptProgress()) == [9.0, 1.0]
    assert steps_of(timed, "smallest") == 20


def test_for_a_time_and_limits_the_reference_is_the_largest_within_these(folder: Path) -> None:
    state = trained_run(open_run(folder))
    usual, within = state.spec.reference_arch(), state.config.space.smallest

    def reference_of(same_time: bool, limits: object) -> ArchConfig:
        card = SimpleNamespace(budget=SimpleNamespace(same_time=same_time), limits=limits)
        return module.reference(SimpleNamespace(card=card, spec=state.spec))

    limits = SimpleNamespace(largest=within)
    assert within != usual
    assert reference_of(True, limits) == within
    assert reference_of(True, None) == reference_of(False, limits) == usual
