"""One subnet trained with several seeds: the best is kept, and each seed resumes by itself."""

import json
import shutil
from pathlib import Path

import pytest
from walking import KeptProgress, damage, opened

from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.locks import locked
from mosdeploy.records import SeedLoss
from mosdeploy.run_folder.subnets import losses_of, spread_of
from mosdeploy.supernet.checkpoint import save_training_state
from mosdeploy.workspace import Workspace

STEPS = 10


class StopsAt(KeptProgress):
    """Progress that stops a verb at so many updates, whichever seed they are of."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        super().update(stage, done, total, note)
        if len(self.updates) == self.num_updates:
            raise KeyboardInterrupt

    def __init__(self, num_updates: int) -> None:
        super().__init__()
        self.num_updates = num_updates


def test_the_best_of_several_seeds_is_kept(folder: Path) -> None:
    run = opened(folder)
    card = run.finetune(steps=STEPS, seeds=3)
    files = Workspace(folder)
    assert [found.seed for found in card.seeds] == [1, 2, 3]
    losses = [found.loss for found in card.seeds]
    assert len(set(losses)) == 3
    assert card.loss == min(losses)
    best = card.seeds[losses.index(card.loss)].seed
    key = card.arch.key
    kept = files.subnet_path(key, "finetuned").read_bytes()
    assert kept == files.subnet_path(key, "finetuned", best).read_bytes()
    scores = run.evaluate(("winner",)).subnets["winner, finetuned"]
    assert scores.loss == pytest.approx(card.loss, rel=1e-6)


def test_the_first_seed_trains_as_a_single_one(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    single = opened(folder).finetune(steps=STEPS)
    card = opened(other).finetune(steps=STEPS, seeds=2)
    assert card.seeds[0] == SeedLoss(seed=1, loss=single.loss)
    assert single.seeds == ()


@pytest.mark.slow
def test_what_a_single_seed_came_to_is_taken_over(folder: Path, tmp_path: Path) -> None:
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    single = opened(folder).finetune(steps=STEPS)
    progress = KeptProgress()
    card = opened(folder, progress).finetune(steps=STEPS, seeds=2)
    assert card.seeds[0] == SeedLoss(seed=1, loss=single.loss)
    assert len(progress.updates) == STEPS
    files = Workspace(folder)
    of_first = files.subnet_card_path(card.arch.key, "finetuned", seed=1).read_text()
    assert of_first == single.model_dump_json(indent=2) + "\n"
    # so are the steps of one that was killed, after the last state that was saved
    with pytest.raises(KeyboardInterrupt):
        opened(killed, StopsAt(6)).finetune(steps=STEPS)
    progress = KeptProgress()
    again = opened(killed, progress).finetune(steps=STEPS, seeds=2)
    assert (again.subnet_sha256, again.seeds) == (card.subnet_sha256, card.seeds)
    assert len(progress.updates) == 2 * STEPS - 4
    assert not list(killed.glob("subnets/*/tokens-*"))


@pytest.mark.slow
def test_a_single_seed_of_another_training_is_not_taken_over(folder: Path) -> None:
    opened(folder).finetune(steps=2)
    opened(folder).finetune(steps=3, seeds=2)
    opened(folder).finetune(steps=2)
    progress = KeptProgress()
    # of seed 1, which stood in its folder after another training
    opened(folder, progress).finetune(steps=2, seeds=2)
    assert len(progress.updates) == 2


@pytest.mark.slow
def test_a_kill_in_the_second_seed_costs_nothing_else(folder: Path, tmp_path: Path) -> None:
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    whole = opened(folder).finetune(steps=STEPS, seeds=2)
    with pytest.raises(KeyboardInterrupt):
        opened(killed, StopsAt(STEPS + 6)).finetune(steps=STEPS, seeds=2)
    files = Workspace(killed)
    first = files.subnet_path(whole.arch.key, "finetuned", seed=1)
    assert not files.subnet_card_path(whole.arch.key, "finetuned").exists()
    written = first.stat().st_mtime_ns
    progress = KeptProgress()
    again = opened(killed, progress).finetune(steps=STEPS, seeds=2)
    assert first.stat().st_mtime_ns == written
    # the last state was saved at step 4
    assert len(progress.updates) == STEPS - 4
    assert (again.subnet_sha256, again.seeds) == (whole.subnet_sha256, whole.seeds)


def test_finished_seeds_are_left_as_they_are(folder: Path) -> None:
    card = opened(folder).finetune(steps=2, seeds=2)
    kept = {path: path.stat().st_mtime_ns for path in (folder / "subnets").rglob("*.safetensors")}
    assert len(kept) == 3
    progress = KeptProgress()
    assert opened(folder, progress).finetune(steps=2, seeds=2) == card
    assert progress.messages == [
        f"finetuned, seed {seed}: already trained from the same weights in the same way"
        for seed in (1, 2)
    ]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    # one more seed is one more training
    progress = KeptProgress()
    more = opened(folder, progress).finetune(steps=2, seeds=3)
    assert more.seeds[:2] == card.seeds
    assert len(progress.updates) == 2


def test_the_best_of_more_seeds_is_left_as_it_is(folder: Path) -> None:
    card = opened(folder).finetune(steps=2, seeds=3)
    for seeds in (1, 2):
        progress = KeptProgress()
        assert opened(folder, progress).finetune(steps=2, seeds=seeds) == card
        assert progress.updates == []
    # that of another seed, or of another training, is no best of those
    other = opened(folder).finetune(steps=3)
    assert (other.steps, other.seeds) == (3, ())


def test_a_state_that_a_kill_left_beside_its_subnet_blocks_no_other_training(folder: Path) -> None:
    card = opened(folder).finetune(steps=2)
    path = Workspace(folder).subnet_checkpoint_path(card.arch.key, "finetuned")
    save_training_state(path, {"inputs_sha256": card.inputs_sha256})
    assert opened(folder).finetune(steps=3).steps == 3
    # one that is not of the subnet that stands there is somebody's work
    save_training_state(path, {"inputs_sha256": "other"})
    with pytest.raises(StaleInputError, match=r"checkpoint\.pt was made from .*delete it"):
        opened(folder).finetune(steps=4)


def test_a_damaged_copy_of_the_best_is_made_again(folder: Path) -> None:
    card = opened(folder).finetune(steps=2, seeds=2)
    path = Workspace(folder).subnet_path(card.arch.key, "finetuned")
    whole = path.read_bytes()
    damage(path)
    assert opened(folder).finetune(steps=2, seeds=2) == card
    assert path.read_bytes() == whole


def test_the_run_file_may_ask_for_seeds(folder: Path) -> None:
    path = folder / "mosdeploy.toml"
    path.write_text(path.read_text() + "[finetune]\nsteps = 2\nseeds = 2\n")
    card = opened(folder).finetune()
    assert len(card.seeds) == 2
    spread = f"the best of 2 seeds ({card.loss:.4f} to {max(x.loss for x in card.seeds):.4f})"
    assert spread_of(card) == f", {spread}"
    assert losses_of(card).endswith(spread)
    progress = KeptProgress()
    opened(folder, progress).export()
    assert spread in progress.messages[0]
    record = json.loads(Workspace(folder).subnet_card_path(card.arch.key, "finetuned").read_text())
    assert [found["seed"] for found in record["seeds"]] == [1, 2]


def test_a_seed_is_trained_by_one_process(folder: Path) -> None:
    card = opened(folder).finetune(steps=2, seeds=2)
    second = Workspace(folder).subnet_path(card.arch.key, "finetuned", seed=2)
    with (
        locked(second, MosdeployError("held")),
        pytest.raises(MosdeployError, match=r"another `mosdeploy finetune` trains .*seed-2"),
    ):
        opened(folder).finetune(steps=2, seeds=2)
