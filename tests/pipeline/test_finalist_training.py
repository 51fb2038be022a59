"""Finalists that are trained alone for a few steps, and the finetuning that goes on from there."""

import json
import shutil
from pathlib import Path

import pytest
from faults import UNREADABLE
from walking import KeptProgress, edit, opened

from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline.finalist_training import FinalistTraining
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.workspace import Workspace

STEPS = 4


def training(root: Path, progress: KeptProgress | None = None) -> FinalistTraining:
    return FinalistTraining(trained_run(open_run(root)), STEPS, progress or KeptProgress())


def ends(root: Path) -> list[ArchConfig]:
    space = trained_run(open_run(root)).config.space
    return [space.largest, space.smallest]


@pytest.fixture
def searched(folder: Path) -> Path:
    """A run folder whose [finetune] is short."""
    path = folder / "mosdeploy.toml"
    text = path.read_text()
    assert "[finetune]" not in text
    path.write_text(f"{text}\n[finetune]\nsteps = 10\n")
    return folder


def test_a_finetuning_goes_on_from_the_steps_of_a_finalist(searched: Path) -> None:
    undisturbed = opened(searched).finetune("largest")
    path = Workspace(searched).subnet_path(undisturbed.arch.key, "finetuned")
    path.with_name("subnet.json").unlink()
    losses = training(searched).losses(ends(searched))
    assert losses[0] != losses[1]
    progress = KeptProgress()
    card = opened(searched, progress).finetune("largest")
    assert card == undisturbed.model_copy(update={"train_seconds": card.train_seconds})
    assert len([stage for stage, _ in progress.updates if stage == "finetune"]) == 10 - STEPS
    log = path.with_name("log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(1, 11))
    assert json.loads(log[STEPS - 1])["subnet_loss"] == losses[0]


def test_a_finalist_is_trained_once(searched: Path) -> None:
    archs = ends(searched)
    with pytest.raises(KeyboardInterrupt):
        training(searched, KeptProgress(stop_at=3)).losses(archs)
    progress = KeptProgress()
    losses = training(searched, progress).losses(archs)
    assert {stage for stage, _ in progress.updates} == {"finalist 1/2", "finalist 2/2"}
    progress = KeptProgress()
    assert training(searched, progress).losses(archs) == losses
    assert progress.updates == []
    more = FinalistTraining(trained_run(open_run(searched)), STEPS + 1, progress)
    assert more.losses(archs[:1]) != losses[:1]
    assert len(progress.updates) == 1  # it went on


def test_fewer_steps_are_not_taken_for_more(searched: Path) -> None:
    largest = ends(searched)[0]
    training(searched).losses([largest])
    fewer = FinalistTraining(trained_run(open_run(searched)), STEPS - 1, KeptProgress())
    again = FinalistTraining(trained_run(open_run(searched)), STEPS, KeptProgress())
    first = fewer.losses([largest])
    assert first != again.losses([largest])


def test_a_killed_training_of_more_steps_leaves_no_loss_for_fewer(searched: Path) -> None:
    largest = ends(searched)[0]
    state = trained_run(open_run(searched))
    assert state.config.training.checkpoint_every == STEPS  # a kill leaves a state of so many
    longer = FinalistTraining(state, STEPS + 2, KeptProgress(stop_at=STEPS + 1))
    with pytest.raises(KeyboardInterrupt):
        longer.losses([largest])
    assert Workspace(searched).finalist_checkpoint_path(largest.key).exists()
    losses = training(searched).losses([largest])
    shutil.rmtree(Workspace(searched).finalists_dir)
    assert losses == training(searched).losses([largest])


def test_a_state_that_cannot_be_read_now_is_not_removed(searched: Path) -> None:
    largest = ends(searched)[0]
    path = Workspace(searched).finalist_checkpoint_path(largest.key)
    path.parent.mkdir(parents=True)
    path.symlink_to(UNREADABLE)
    with pytest.raises(StaleInputError, match=r"checkpoint\.pt cannot be read: Input/output error"):
        training(searched).losses([largest])
    assert path.is_symlink()
    path.unlink()
    path.write_bytes(b"damaged")
    assert training(searched).losses([largest])


def test_a_kill_between_log_and_state_blocks_no_finetuning(searched: Path) -> None:
    largest = ends(searched)[0]
    training(searched).losses([largest])
    files = Workspace(searched)
    log_path = files.subnet_log_path(largest.key, "finetuned")
    log_path.parent.mkdir(parents=True)
    files.finalist_checkpoint_path(largest.key).with_name("log.jsonl").replace(log_path)
    opened(searched).finetune("largest")
    lines = log_path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 11))


@pytest.mark.slow
def test_a_search_trains_its_finalists_and_leaves_the_state_of_the_winner(searched: Path) -> None:
    path = searched / "mosdeploy.toml"
    path.write_text(path.read_text().replace("[search]", "[search]\nfinalist_steps = 4"))
    result = opened(searched).search("10s")
    trained = [c for c in result.finalists if c.trained_loss is not None]
    assert len(trained) >= 2
    assert result.winner.trained_loss == min(c.trained_loss for c in trained if c.trained_loss)
    kept = [path.parent.name for path in Workspace(searched).finalists_dir.glob("*/checkpoint.pt")]
    assert kept == [result.winner.arch.key]
    progress = KeptProgress()
    opened(searched, progress).finetune()
    assert len([stage for stage, _ in progress.updates if stage == "finetune"]) == 10 - STEPS


def test_without_measuring_finalists_are_trained_too(searched: Path) -> None:
    path = searched / "mosdeploy.toml"
    path.write_text(path.read_text().replace("[search]", "[search]\nfinalist_steps = 4"))
    result = opened(searched).search("10s", verify=False)
    assert result.finalists == () and result.winner.measured_ms is None
    cards = Workspace(searched).finalists_dir.glob("*/loss.json")
    losses = {path.parent.name: json.loads(path.read_text())["loss"] for path in cards}
    assert len(losses) >= 2
    assert result.winner.trained_loss == min(losses.values()) == losses[result.winner.arch.key]
    # of one there is nothing to choose
    alone = result.winner.model_copy(update={"trained_loss": None})
    assert training(searched).best_of([alone]) == alone


def test_what_nobody_goes_on_with_is_removed(searched: Path) -> None:
    edit(searched / "mosdeploy.toml", "[training]", '[training]\nlog = "tensorboard"')
    largest, smallest = ends(searched)
    training(searched).losses([largest, smallest])
    training(searched).keep_only(smallest)
    left = Workspace(searched).finalist_checkpoint_path(largest.key).parent
    assert [path.name for path in left.iterdir()] == ["loss.json"]
    kept = [path.parent.name for path in Workspace(searched).finalists_dir.glob("*/checkpoint.pt")]
    assert kept == [smallest.key]
    # of another length: it starts afresh, and the state is left to whoever asks for that length
    card = opened(searched).finetune("smallest", steps=6)
    assert card.steps == 6
    assert Workspace(searched).finalist_checkpoint_path(smallest.key).exists()
