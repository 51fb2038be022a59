"""A teacher answers the training inputs, and what reads its answers afterwards."""

import json
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from walking import KeptProgress, damage, edit, make_run_folder, opened

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.family import TaskData
from mosdeploy.pipeline import distill, time_loss
from mosdeploy.pipeline.distill import DistillOptions
from mosdeploy.run_folder.distilled import distilled
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.workspace import Workspace

pytestmark = pytest.mark.slow  # trains teachers

FINETUNE = "[profile]\n"


@pytest.fixture(scope="module")
def taught_folder(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walked folder with a teacher and what it answered; tests must not change it."""
    root = Path(shutil.copytree(walked, tmp_path_factory.mktemp("taught") / "run"))
    opened(root).finetune("largest", steps=200)
    opened(root).distill()
    return root


@pytest.fixture
def root(taught_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(taught_folder, tmp_path / "taught"))


def data_of(root: Path) -> TaskData:
    run = open_run(root)
    return run.family.load_data(run.config, root)


def wish(root: Path, section: str) -> None:
    """Put a section into the run file."""
    edit(root / "mosdeploy.toml", FINETUNE, f"{section}\n\n{FINETUNE}")


# -- the examples


def test_answers_are_the_teachers_beam_5_translations(root: Path) -> None:
    run = open_run(root)
    pairs = distilled(run, "distilled").examples(run, data_of(root))
    state = trained_run(run)
    teacher = select_subnet(state, run.config.space.largest, "finetuned").subnet
    workload = run.config.workload.model_copy(update={"beam": 5})
    scored = state.scored(pairs, workload)
    ids = scored.predict(teacher, scored.input_ids)
    assert [target for _, target in pairs] == [scored.decode(row) for row in ids]
    sources = {source for source, _ in data_of(root).train}
    assert len(pairs) > len(sources) / 2
    assert {source for source, _ in pairs} <= sources


def test_both_is_original_then_distilled(root: Path) -> None:
    run = open_run(root)
    data = data_of(root)
    original, taught, both = (
        list(distilled(run, which).examples(run, data))
        for which in ("original", "distilled", "both")
    )
    assert original == list(data.train)
    # a pair of the corpus that the teacher gave too is there once
    assert both == list(dict.fromkeys(original + taught))


def test_a_finished_corpus_is_left_as_it_is(root: Path) -> None:
    path = Workspace(root).distilled_path
    before = path.read_bytes()
    progress = KeptProgress()
    card = opened(root, progress).distill()
    assert progress.messages == ["already distilled from the same data by the same teacher"]
    assert not progress.updates
    assert path.read_bytes() == before
    assert card.num_inputs == len(data_of(root).train) >= card.num_examples
    assert card.setup.startswith("beam 5")


def test_a_killed_run_has_nothing_answered_twice(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "CHUNK", 100)
    path = Workspace(root).distilled_path
    whole = {tuple(example) for example in distilled_examples(root)}
    shutil.rmtree(path.parent)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=0)).distill()  # told before the processes have started
    assert len(path.read_bytes().splitlines()) == 1
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=100)).distill()
    first = path.read_bytes().splitlines()
    assert len(first) == 2  # a head and one chunk
    with path.open("ab") as file:
        file.write(b'{"chunk": 1, "exam')  # torn by the kill
    opened(root).distill()
    lines = path.read_bytes().splitlines()
    assert lines[:2] == first
    numbers = [json.loads(line)["chunk"] for line in lines[1:]]
    assert sorted(numbers) == list(range(len(numbers)))
    assert {tuple(example) for example in distilled_examples(root)} == whole


def test_a_stopped_distillation_is_told_with_what_goes_on_with_it(root: Path) -> None:
    shutil.rmtree(Workspace(root).distilled_path.parent)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=0)).distill(beam=3)
    part = next(x for x in opened(root).status().parts if x.what == "distilled")
    assert part.detail == (
        "`mosdeploy distill --beam 3` was stopped; it goes on while teacher and data are the same"
    )
    with pytest.raises(StaleInputError, match="it was begun by `mosdeploy distill --beam 3`"):
        opened(root).distill()
    opened(root).distill(beam=3)
    assert "distilled" not in {x.what for x in opened(root).status().parts}


def test_a_process_answers_with_the_teacher_that_the_command_found_alone(root: Path) -> None:
    found = distill._teacher_sha256(open_run(root), distill.DistillOptions())
    assert distill._opened(distill._Job(root, distill.DistillOptions(), found))
    replaced = distill._Job(root, distill.DistillOptions(), "0" * 64)
    with pytest.raises(StaleInputError, match="the teacher was replaced while this command ran"):
        distill._opened(replaced)


def distilled_examples(root: Path) -> list[tuple[str, str]]:
    run = open_run(root)
    return list(distilled(run, "distilled").examples(run, data_of(root)))


def test_a_bundle_teaches_by_its_name_as_by_its_folder(root: Path) -> None:
    bundle = opened(root).export("largest").path
    shutil.rmtree(Workspace(root).distilled_path.parent)
    card = opened(root).distill(bundle.name)
    assert card.teacher == f"{bundle.name}/"
    progress = KeptProgress()
    assert opened(root, progress).distill(bundle) == card
    assert progress.messages == ["already distilled from the same data by the same teacher"]


SCRIPT = """
import sys
import mosdeploy

run = mosdeploy.open_run(sys.argv[1])
print(run.distill().num_inputs)
"""


def test_a_script_needs_no_main_guard(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(Workspace(root).distilled_path.parent)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, path, root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # once: no process of the pool runs the script too
    assert done.stdout == f"{len(data_of(root).train)}\n"


# -- what it refuses


@pytest.mark.parametrize("beam", [0, -1])
def test_a_beam_below_1_is_refused(folder: Path, beam: int) -> None:
    with pytest.raises(ConfigError, match=rf"--beam {beam}: a beam search has 1 hypothesis or"):
        opened(folder).distill(beam=beam)


def test_the_largest_subnet_must_be_trained_alone(folder: Path) -> None:
    with pytest.raises(StaleInputError, match="run `mosdeploy finetune --pick largest`"):
        opened(folder).distill()
    wish(folder, '[finetune]\nteacher = "largest"')
    with pytest.raises(StaleInputError, match="run `mosdeploy finetune --pick largest`"):
        opened(folder).finetune(steps=2)


def test_a_folder_that_is_no_teacher_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder, or an empty one"):
        opened(folder).distill(folder / "nothing")
    with pytest.raises(ConfigError, match=r"data is no teacher: name `largest`, the folder of a b"):
        opened(folder).distill(folder / "data")


def test_another_teachers_corpus_is_not_written_over(root: Path) -> None:
    bundle = next((root / "bundles").glob("[!.]*"))
    with pytest.raises(StaleInputError, match="is the work of another teacher or beam"):
        opened(root).distill(bundle)


def test_the_answers_of_a_replaced_teacher_are_refused(root: Path) -> None:
    wish(root, '[finetune]\ndata = "both"')
    opened(root).finetune("largest", steps=20)  # another teacher than the one that answered
    with pytest.raises(StaleInputError, match=r"another teacher than the largest .* delete .*dis"):
        opened(root).finetune("smallest", steps=2)


def test_a_damaged_or_missing_corpus_is_not_trained_on(root: Path) -> None:
    wish(root, '[finetune]\ndata = "distilled"')
    damage(Workspace(root).distilled_path)
    with pytest.raises(StaleInputError, match="is missing or is not the file of its card"):
        opened(root).finetune("smallest", steps=2)
    shutil.rmtree(Workspace(root).distilled_path.parent)
    with pytest.raises(StaleInputError, match="run `mosdeploy distill` first"):
        opened(root).finetune("smallest", steps=2)


def test_other_data_make_a_corpus_stale(root: Path) -> None:
    run = open_run(root)
    data = data_of(root)
    edit(root / "mosdeploy.toml", "max_tokens = 24", "max_tokens = 24\nvalid_fraction = 0.2")
    path = root / "mosdeploy.toml"
    path.write_text(path.read_text().replace("valid_fraction = 0.1\n", "", 1))
    assert data_of(root).sha256 != data.sha256
    with pytest.raises(StaleInputError, match="was made from other data"):
        distilled(run, "both").examples(run, data_of(root))


# -- who reads it


def test_a_subnet_learns_from_distilled_examples(root: Path) -> None:
    plain = opened(root).finetune("smallest", steps=4)
    wish(root, '[finetune]\ndata = "distilled"')
    card = opened(root).finetune("smallest", steps=4)
    assert card.inputs_sha256 != plain.inputs_sha256
    assert card.subnet_sha256 != plain.subnet_sha256
    assert card.start_loss == plain.start_loss


def test_distilled_examples_count_among_those_that_a_winner_reads(root: Path) -> None:
    original_steps = time_loss._epoch_steps(trained_run(open_run(root)))
    wish(root, '[finetune]\ndata = "both"')
    state = trained_run(open_run(root))
    count = len(distilled(state.run, "both").examples(state.run, state.data))
    expected = original_steps * count / len(state.data.train)
    assert expected > original_steps
    assert time_loss._epoch_steps(state) == pytest.approx(expected, rel=0.1)
    state.files.distilled_card_path.unlink()  # not distilled yet
    assert time_loss._epoch_steps(trained_run(open_run(root))) == original_steps


def test_a_subnet_learns_from_a_teachers_distributions(root: Path) -> None:
    plain = opened(root).finetune("smallest", steps=4)
    wish(root, '[finetune]\nteacher = "largest"')
    progress = KeptProgress()
    card = opened(root, progress).finetune("smallest", steps=4)
    assert card.inputs_sha256 != plain.inputs_sha256
    assert card.subnet_sha256 != plain.subnet_sha256
    assert not [x for x in progress.messages if x.startswith("its teacher")]


def test_a_teacher_that_is_no_better_is_told(root: Path) -> None:
    opened(root).finetune("largest", steps=1)
    wish(root, '[finetune]\nteacher = "largest"')
    progress = KeptProgress()
    opened(root, progress).finetune("smallest", steps=100)
    assert progress.messages[-1].startswith("its teacher came to a validation loss of ")


def test_the_teacher_is_not_taught_by_itself(root: Path) -> None:
    before = opened(root).finetune("largest", steps=200)
    wish(root, '[finetune]\ndata = "both"\nteacher = "largest"')
    progress = KeptProgress()
    assert opened(root, progress).finetune("largest", steps=200) == before
    assert progress.messages[0].startswith("the largest subnet is trained on the original examples")


def test_a_supernet_learns_from_a_bundles_answers(root: Path) -> None:
    wish_training = 'steps = 12\ndata = "both"'
    edit(root / "mosdeploy.toml", "steps = 12", wish_training)
    with pytest.raises(ConfigError, match=r"supernet's own largest subnet.*--teacher"):
        opened(root).train()
    edit(root / "mosdeploy.toml", wish_training, "steps = 12")
    shutil.rmtree(Workspace(root).distilled_path.parent)
    before = open_run(root).supernet_card()
    bundle = opened(root).export("largest").path
    with pytest.raises(ConfigError, match=r"beam 1, not 5: leave --beam out, .*export --beam 5"):
        opened(root).distill(bundle, beam=5)
    fresh = make_run_folder(root.parent / "fresh")
    edit(fresh / "mosdeploy.toml", "steps = 12", wish_training)
    taught = opened(fresh).distill(bundle)  # a folder without a supernet of its own
    assert opened(root).distill(bundle) == taught
    assert (taught.teacher, taught.setup) == (f"{Path(bundle).name}/", "beam 1")
    edit(root / "mosdeploy.toml", "steps = 12", wish_training)
    card = opened(root).train()
    assert card.supernet_sha256 != before.supernet_sha256
    assert opened(root).finetune("smallest", steps=2).loss > 0


def test_a_family_without_teachers_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    run = open_run(root)
    bare = dataclasses.replace(run.family, distill=None)
    monkeypatch.setattr("mosdeploy.run_folder.run.load_family", lambda name: bare)
    with pytest.raises(ConfigError, match="no other model answers the examples"):
        opened(root).distill()
    wish(root, '[finetune]\nteacher = "largest"')
    with pytest.raises(ConfigError, match="no other model answers the examples"):
        opened(root).finetune("smallest", steps=2)


KILLED = """
import multiprocessing, os, signal
from concurrent.futures import ProcessPoolExecutor
from mosdeploy.pipeline.distill import end_when_closed

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    reader, writer = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        1, mp_context=spawn, initializer=end_when_closed, initargs=(reader,)
    )
    print(pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "killed.py"
    path.write_text(KILLED)
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        # it has the same stdout, which ends when none of both is left
        readable, _, _ = select.select([process.stdout], [], [], 30)
        if not readable:
            os.kill(child, signal.SIGKILL)
        assert readable and process.stdout.read() == ""


def test_nobody_waits_for_what_a_stopped_run_has_answered(root: Path) -> None:
    # more than can be answered within the hour
    pairs = list(data_of(root).train) * 1000
    teacher_sha256 = distill._teacher_sha256(open_run(root), DistillOptions())
    job = distill._Job(root, DistillOptions(), teacher_sha256)
    answers = distill._answers(open_run(root), job, {0: pairs})

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGALRM, stop)
    try:
        signal.alarm(10)
        with pytest.raises(KeyboardInterrupt):
            next(answers)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, kept)
    assert not multiprocessing.active_children()
