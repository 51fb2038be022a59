"""A teacher answers the training inputs within `train`; the largest subnet teaches a winner."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from walking import KeptProgress, edit, lines_of, make_run_folder, opened

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.families.translation import teacher
from mosdeploy.families.translation.teacher import TranslationTeacher
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.workspace import Workspace

CORPUS = "[space]\n"
FINETUNE = "[profile]\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources that a teacher was asked for; it says the same words in capitals."""
    sources: list[str] = []

    def translate(chunk: Sequence[str]) -> list[str]:
        sources.extend(chunk)
        return ["" if "one" in source else source.upper() for source in chunk]

    made = TranslationTeacher("by hand", translate)
    monkeypatch.setattr(teacher, "open_teacher", lambda config, root, threads: made)
    return sources


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run folder with a teacher in its run file."""
    folder = make_run_folder(tmp_path / "run")
    (folder / "model").mkdir()
    (folder / "model" / "model.bin").write_text("weights")
    edit(folder / "mosdeploy.toml", CORPUS, f'[teacher]\npath = "model"\n\n{CORPUS}')
    return folder


def answers_path(root: Path) -> Path:
    return next(Workspace(root).teacher_dir.glob("answers-*.jsonl"))


def state_of(root: Path) -> TrainedRun:
    return trained_run(open_run(root))


def test_a_supernet_learns_its_teachers_answers(root: Path, asked: list[str]) -> None:
    plain = make_run_folder(root.parent / "plain")
    without = opened(plain).train()
    card = opened(root).train()
    assert card.supernet_sha256 != without.supernet_sha256
    state = state_of(root)
    originals = state_of(plain).data.train
    assert asked == [source for source, _ in originals]
    expected = [(x, x.upper()) for x in asked if "one" not in x]
    assert state.training_examples == expected
    # validation examples stay the user's
    assert state.data.valid == state_of(plain).data.valid
    assert opened(root).finetune("smallest", steps=2).loss > 0
    assert len(asked) == len(originals)  # none was asked for twice


def test_both_is_originals_and_then_answers(root: Path, asked: list[str]) -> None:
    edit(root / "mosdeploy.toml", 'path = "model"', 'path = "model"\ndata = "both"')
    opened(root).train()
    state = state_of(root)
    answers = [(x, x.upper()) for x in asked if "one" not in x]
    assert state.training_examples == [*state.data.train, *answers]


def test_a_killed_training_has_nothing_answered_twice(
    root: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "CHUNK", 100)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=100)).train()
    path = answers_path(root)
    assert len(lines_of(path)) == 1
    with path.open("ab") as file:
        file.write(b'[["torn by')
    opened(root).train()
    assert len(asked) == len(set(asked))
    answered = [pair for line in lines_of(path) for pair in json.loads(line)]
    assert [tuple(pair) for pair in answered] == list(state_of(root).training_examples)


def test_another_teacher_makes_a_supernet_stale(root: Path, asked: list[str]) -> None:
    opened(root).train()
    first = answers_path(root).read_bytes()
    (root / "model" / "model.bin").write_text("other weights")
    with pytest.raises(StaleInputError, match="files of a teacher"):
        _ = state_of(root).data
    edit(root / "mosdeploy.toml", 'path = "model"', 'path = "model"\nbeam = 3')
    with pytest.raises(StaleInputError, match="beam"):
        _ = state_of(root).data
    opened(root).train()
    assert len(asked) == 2 * len(state_of(root).data.train)
    # with other steps the supernet alone is made anew
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 4")
    opened(root).train()
    assert len(asked) == 2 * len(state_of(root).data.train)
    assert first in [path.read_bytes() for path in Workspace(root).teacher_dir.iterdir()]


def test_a_teacher_that_is_not_there_or_says_nothing_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = TranslationTeacher("mute", lambda sources: [""] * len(sources))
    monkeypatch.setattr(teacher, "open_teacher", lambda config, root, threads: mute)
    with pytest.raises(ConfigError, match="worth training on"):
        opened(root).train()
    shutil.rmtree(root / "model")
    with pytest.raises(ConfigError, match="there is no folder"):
        opened(root).train()


def test_damaged_answers_are_named(root: Path, asked: list[str]) -> None:
    opened(root).train()
    answers_path(root).write_text("[[1]]\n")
    with pytest.raises(StaleInputError, match="is corrupt"):
        opened(root).finetune("smallest", steps=2)


@pytest.mark.slow
def test_the_largest_subnet_teaches_another_run_as_a_bundle(walked: Path, tmp_path: Path) -> None:
    teaching = Path(shutil.copytree(walked, tmp_path / "teaching"))
    opened(teaching).finetune("largest", steps=200)
    bundle = opened(teaching).export("largest").path
    root = make_run_folder(tmp_path / "run")
    edit(root / "mosdeploy.toml", CORPUS, f'[teacher]\npath = "{bundle}"\n\n{CORPUS}')
    opened(root).train()
    scored = trained_run(open_run(teaching))
    pairs = state_of(root).training_examples
    subnet = scored.scored(pairs, scored.config.workload)
    assert len(pairs) > 100
    assert {source for source, _ in pairs} <= {source for source, _ in scored.data.train}
    assert subnet.setup == "greedy"


# -- distributions of the largest subnet


@pytest.fixture
def taught(walked: Path, tmp_path: Path) -> Path:
    """A walked folder in which [finetune] names the largest subnet."""
    root = Path(shutil.copytree(walked, tmp_path / "taught"))
    edit(root / "mosdeploy.toml", FINETUNE, f'[finetune]\nteacher = "largest"\n\n{FINETUNE}')
    return root


def test_the_largest_subnet_must_be_trained_alone(taught: Path) -> None:
    with pytest.raises(StaleInputError, match="--pick largest"):
        opened(taught).finetune("smallest", steps=2)


@pytest.mark.slow
def test_a_subnet_learns_from_the_largest_subnets_distributions(walked: Path, taught: Path) -> None:
    alone = Path(shutil.copytree(walked, taught.parent / "alone"))
    largest = opened(alone).finetune("largest", steps=20)
    plain = opened(alone).finetune("smallest", steps=4)
    # it is not taught by itself
    assert opened(taught).finetune("largest", steps=20).subnet_sha256 == largest.subnet_sha256
    progress = KeptProgress()
    card = opened(taught, progress).finetune("smallest", steps=4)
    assert card.start_loss == plain.start_loss
    assert card.subnet_sha256 != plain.subnet_sha256
