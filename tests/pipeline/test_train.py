"""Training a run folder: nothing twice, again after a change, and nothing of another training
overwritten.
"""

import json
import shutil
from pathlib import Path

import pytest
from walking import NUMBERS, KeptProgress, damage, edit, lines_of, make_run_folder, opened

from mosdeploy.errors import StaleInputError
from mosdeploy.records import DataCard, SupernetCard
from mosdeploy.run_folder.artifact import JobRecord
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.storage import read_record, sha256_file, write_record
from mosdeploy.workspace import Workspace


def test_a_training_leaves_a_supernet_its_cards_and_its_log(walked: Path) -> None:
    files = Workspace(walked)
    names = {path.name for path in files.supernet_path.parent.iterdir() if path.suffix != ".lock"}
    assert names == {
        "data.json",
        "log.jsonl",
        "supernet.json",
        "supernet.safetensors",
        "tokenizer.model",
    }
    card = read_record(DataCard, files.data_card_path, "mosdeploy train")
    assert (card.vocab_size, card.num_train + card.num_valid + card.num_test) == (44, 500)
    steps = [json.loads(line)["step"] for line in lines_of(files.training_log_path)]
    assert steps == list(range(1, 13))


def test_validation_examples_that_are_too_long_are_told(tmp_path: Path) -> None:
    make_run_folder(tmp_path)
    for name in ("valid.en", "valid.de"):
        (tmp_path / "data" / name).write_text(f"one two three\n{' '.join(3 * NUMBERS)}\n")
    path = tmp_path / "mosdeploy.toml"
    edit(path, "valid_fraction = 0.1", 'valid = "data/valid"')
    edit(path, "\nsteps = 12", "\nsteps = 1")
    progress = KeptProgress()
    opened(tmp_path, progress).train()
    told = next(line for line in progress.messages if line.startswith("data: "))
    assert " training, 1 validation, " in told
    assert told.endswith("; validation examples of too many tokens: 1")


@pytest.mark.parametrize(("warmup_steps", "is_told"), [(3, False), (4, True), (9, True)])
def test_a_warm_up_that_never_ends_is_told(
    tmp_path: Path, warmup_steps: int, is_told: bool
) -> None:
    make_run_folder(tmp_path)
    path = tmp_path / "mosdeploy.toml"
    edit(path, "\nsteps = 12", "\nsteps = 4")
    edit(path, "\nwarmup_steps = 4", f"\nwarmup_steps = {warmup_steps}")
    progress = KeptProgress()
    opened(tmp_path, progress).train()
    told = [line for line in progress.messages if "rises to the very end" in line]
    assert bool(told) == is_told
    assert all(f"{warmup_steps} of 4 steps; about 1 are usual" in line for line in told)


@pytest.mark.slow
def test_a_second_walk_repeats_no_work(folder: Path) -> None:
    files = Workspace(folder)
    watched = (files.training_log_path, files.quality_path, files.search_result_path)
    before = [path.read_bytes() for path in watched]
    progress = KeptProgress()
    run = opened(folder, progress)
    assert run.train().model_dump_json() == json.dumps(
        json.loads(files.supernet_card_path.read_text()), separators=(",", ":")
    )
    assert progress.messages == ["already trained from this data and configuration"]
    summary = run.profile()
    assert (summary.measured_now, summary.num_records) == (0, 12)
    run.search("10s")
    assert [path.read_bytes() for path in watched] == before


@pytest.mark.slow
def test_train_mends_a_damaged_supernet(folder: Path) -> None:
    damage(Workspace(folder).supernet_path)
    run = opened(folder)
    with pytest.raises(StaleInputError, match="mosdeploy train"):
        run.search("10s")
    assert run.train().steps == 12
    assert run.search("10s").verified


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nthreads = 1", "\nthreads = 2"),
        ("validate_every = 6", "validate_every = 5"),
        ("checkpoint_every = 4", 'checkpoint_every = 9\ncompute = "cpu"'),
    ],
)
def test_what_changes_no_result_does_not_ask_for_another_training(
    folder: Path, old: str, new: str
) -> None:
    edit(folder / "mosdeploy.toml", old, new)
    progress = KeptProgress()
    assert opened(folder, progress).train().steps == 12
    assert progress.messages == ["already trained from this data and configuration"]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_old_supernet_stands_until_the_new_one_is_trained(folder: Path) -> None:
    files = Workspace(folder)
    before = contents(files.supernet_dir)
    edit(files.config_path, "\nsteps = 12", "\nsteps = 9")
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train()
    assert contents(files.supernet_dir) == before
    assert files.beside.checkpoint_path.exists()
    progress = KeptProgress()
    card = opened(folder, progress).train()
    assert card.steps == 9
    assert any("stays until the new one is trained" in line for line in progress.messages)
    # resumed at the fourth, where the state was saved
    assert len([stage for stage, _ in progress.updates if stage == "train"]) == 5
    assert [json.loads(x)["step"] for x in lines_of(files.training_log_path)] == [*range(1, 10)]
    assert not files.beside.supernet_dir.exists()
    assert opened(folder).search("10s").supernet_sha256 == card.supernet_sha256


def test_a_training_that_is_killed_at_its_end_is_finished_by_the_next(folder: Path) -> None:
    files = Workspace(folder)
    done = contents(files.supernet_dir)
    edit(files.config_path, "\nsteps = 12", "\nsteps = 3")
    opened(folder).train()
    # as if killed before the new one took the old one's place
    shutil.copytree(files.supernet_dir, files.beside.supernet_dir)
    card = read_record(SupernetCard, files.supernet_card_path, "mosdeploy train")
    job = JobRecord(command="mosdeploy train", inputs=card.inputs)
    write_record(files.beside.supernet_dir / "job.json", job)
    for path, content in done.items():
        path.write_bytes(content)
    progress = KeptProgress()
    assert opened(folder, progress).train().steps == 3
    assert progress.messages[-1] == "already trained from this data and configuration"
    assert not files.beside.supernet_dir.exists()


@pytest.mark.parametrize("has_taken_place", [False, True])
def test_a_supernet_that_a_kill_left_aside_is_not_trained_again(
    folder: Path, has_taken_place: bool
) -> None:
    files = Workspace(folder)
    aside = folder / ".aside-supernet"
    if has_taken_place:
        shutil.copytree(files.supernet_dir, aside)
    else:
        files.supernet_dir.rename(aside)
    progress = KeptProgress()
    assert opened(folder, progress).train().steps == 12
    assert progress.messages == ["already trained from this data and configuration"]
    assert not aside.exists()


def test_a_teacher_that_would_be_the_same_is_kept(encoder_folder: Path) -> None:
    files = Workspace(encoder_folder)
    teacher = contents(files.teacher_dir)
    edit(files.config_path, "\nsteps = 12", "\nsteps = 4")
    progress = KeptProgress()
    opened(encoder_folder, progress).train()
    assert not [stage for stage, _ in progress.updates if stage == "teacher"]
    assert contents(files.teacher_dir) == teacher


def test_a_lost_teacher_is_trained_again_beside_its_supernet(encoder_folder: Path) -> None:
    files = Workspace(encoder_folder)
    before = sha256_file(files.supernet_path)
    shutil.rmtree(files.teacher_dir)
    progress = KeptProgress()
    opened(encoder_folder, progress).train()
    assert progress.messages[0].startswith("the supernet is whole, its teacher is not")
    assert sha256_file(files.supernet_path) == before
    opened(encoder_folder).evaluate(["largest"])


def test_a_supernet_that_changed_since_its_card_was_read_is_refused(folder: Path) -> None:
    state = trained_run(open_run(folder))
    edit(folder / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    opened(folder).train()
    with pytest.raises(StaleInputError, match="has changed while this command ran"):
        state.net  # noqa: B018


def test_a_tokenizer_that_changed_since_its_card_was_read_is_refused(walked: Path) -> None:
    card = trained_run(open_run(walked)).card
    state = TrainedRun(open_run(walked), card.model_copy(update={"tokenizer_sha256": "0" * 64}))
    for read in (lambda: state.tokenizer, state.tokenizer_bytes):
        with pytest.raises(StaleInputError, match="has changed while this command ran"):
            read()


def test_a_stopped_training_of_something_else_is_refused_and_kept(folder: Path) -> None:
    files = Workspace(folder)
    edit(files.config_path, "\nsteps = 12", "\nsteps = 9")
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train()
    before = contents(files.beside.supernet_dir)
    edit(files.config_path, "\nsteps = 9", "\nsteps = 8")
    with pytest.raises(StaleInputError, match=r"training\.steps was 9, is 8 now.*delete"):
        opened(folder).train()
    assert contents(files.beside.supernet_dir) == before


def test_another_teacher_lies_beside_the_old_one_until_its_supernet_is_trained(
    encoder_folder: Path,
) -> None:
    files = Workspace(encoder_folder)
    (old,) = files.teacher_dir.iterdir()
    edit(files.config_path, "steps = 40", "steps = 30")
    opened(encoder_folder).train()
    (new,) = files.teacher_dir.iterdir()
    assert new != old
