"""Work that was stopped, or runs now, as a run folder tells of it: what goes on with it."""

import shutil
from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from walking import KeptProgress, change_data, damage, edit, make_run_folder, opened, part

from mosdeploy.errors import InfeasibleError, StaleInputError
from mosdeploy.records import SearchResult
from mosdeploy.run_folder.summaries import RunStatus
from mosdeploy.storage import read_record, write_record
from mosdeploy.workspace import Workspace


@pytest.mark.slow
def test_a_stopped_finetuning_is_told_with_what_goes_on_with_it(folder: Path) -> None:
    def found() -> dict[str, str]:
        parts = opened(folder).status().parts
        return {x.state: x.detail for x in parts if x.what == "finetuned"}

    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune(from_scratch=True)
    assert found()["missing"] == "the winner has the weights that it inherits"
    assert opened(folder).status().next_command == "mosdeploy finetune"
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune(steps=12)
    command = "mosdeploy finetune --steps 12"
    assert found()["missing"] == f"a training was stopped; `{command}` goes on with it"
    assert opened(folder).status().next_command == command
    opened(folder).finetune(steps=12)
    assert "missing" not in found()
    command = "mosdeploy finetune --from-scratch"
    assert found()["unused"] == f"a training was stopped; `{command}` goes on with it"
    assert opened(folder).status().next_command != command


@pytest.mark.slow
def test_a_stopped_finetuning_of_an_earlier_supernet_is_begun_anew(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune("smallest", steps=12)
    edit(folder / "mosdeploy.toml", "learning_rate = 5e-3", "learning_rate = 4e-3")
    opened(folder).train()
    details = [x.detail for x in opened(folder).status().parts if x.what == "finetuned"]
    command = "mosdeploy finetune --pick smallest --steps 12"
    assert f"a training of an earlier supernet was stopped; `{command}` begins it anew" in details
    progress = KeptProgress()
    assert opened(folder, progress).finetune("smallest", steps=12).steps == 12
    told = "a stopped training of it was of an earlier supernet: it is begun anew"
    assert told in progress.messages
    assert not list(folder.glob("subnets/*/begun.json"))


@pytest.mark.slow
def test_a_number_that_another_subnet_has_now_goes_on_with_no_training(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=3)).finetune("1", steps=6)
    (path,) = (folder / "subnets").glob("*/begun.json")
    key = path.parent.name.partition("-")[0]
    stopped = next(x for x in opened(folder).status().parts if "was stopped" in x.detail)
    assert "`mosdeploy finetune --pick 1 --steps 6` goes on" in stopped.detail
    result_path = Workspace(folder).search_result_path
    result = read_record(SearchResult, result_path, "mosdeploy search")
    others = tuple(x for x in result.front if x.arch.key != key)
    write_record(result_path, result.model_copy(update={"front": others}))
    stopped = next(x for x in opened(folder).status().parts if "was stopped" in x.detail)
    assert "which nothing goes on with now; delete" in stopped.detail


class Looking(KeptProgress):
    """Progress of a training that looks at its run folder at the third step."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.found: list[RunStatus] = []

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if done == 3:
            self.found.append(opened(self.root).status())


@pytest.mark.parametrize(
    ("verb", "what"),
    [("train", "supernet"), ("finetune", "finetuned"), ("profile", "measurements")],
)
def test_while_a_command_runs_nothing_is_proposed(folder: Path, verb: str, what: str) -> None:
    progress = Looking(folder)
    edit(folder / "mosdeploy.toml", "[training]", "[finetune]\nsteps = 6\n[training]")
    if verb == "train":
        shutil.rmtree(folder / "supernet")
    if verb == "profile":
        shutil.rmtree(folder / "predictors")
    getattr(opened(folder, progress), verb)()
    found = progress.found[0]  # of a profile there are several
    assert found.next_command is None
    running = [x.what for x in found.parts if "runs now; wait for it" in x.detail]
    assert running == [what]
    assert opened(folder).status().next_command


@pytest.mark.slow
def test_a_damaged_card_of_the_data_beside_a_stopped_training_is_written_again(
    tmp_path: Path,
) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    damage(Workspace(root).data_card_path)
    assert opened(root).train().steps == 12


@pytest.mark.slow
def test_of_a_stopped_training_status_tells_what_was_changed_since(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 14")
    path = Workspace(root).checkpoint_path
    ending = f"restore that, or delete {path}"
    told = f"a training was stopped, and training.steps was 12, is 14 now: {ending}"
    assert part(root, "supernet").detail == told
    assert opened(root).status().next_command is None
    with pytest.raises(StaleInputError, match="steps was 12, is 14 now"):
        opened(root).train()
    edit(root / "mosdeploy.toml", "\nsteps = 14", "\nsteps = 12")
    change_data(root)
    assert (
        part(root, "supernet").detail
        == f"a training was stopped, and the data are others: {ending}"
    )
    path.unlink()
    assert opened(root).train().steps == 12


class StoppedMeasuring(KeptProgress):
    """Progress that is stopped behind the thirteenth subnet, of which twelve were accepted."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("measure on") and done == 13:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_stopped_profile_is_told_with_what_goes_on_with_it(folder: Path) -> None:
    shutil.rmtree(folder / "predictors")
    edit(folder / "mosdeploy.toml", "budget = 12", "budget = 14")
    with pytest.raises(KeyboardInterrupt):
        opened(folder, StoppedMeasuring()).profile()
    measured = part(folder, "measurements")
    assert measured.detail.startswith("12 subnets, ")
    command = "mosdeploy profile --device local"
    assert measured.detail.endswith(f"stopped; `{command}` goes on")
    assert opened(folder).status().next_command == command
    opened(folder).profile()
    assert "stopped" not in part(folder, "measurements").detail
    # one that ended is whole, whatever is wanted later
    edit(folder / "mosdeploy.toml", "budget = 14", "budget = 16")
    for path in folder.glob("predictors/*/predictor.json"):
        path.unlink()
    assert "stopped" not in part(folder, "measurements").detail
    assert opened(folder).status().next_command == "mosdeploy fit --device local"


def test_a_stopped_search_is_proposed_as_it_was_asked_for(folder: Path) -> None:
    shutil.rmtree(folder / "search")
    usual = opened(folder).status().next_command
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=1)).search("9s", max_parameters=10**6, verify=False)
    command = "mosdeploy search --max-latency 9000ms --max-parameters 1M --no-verify"
    assert opened(folder).status().next_command == command != usual
    with pytest.raises(InfeasibleError):
        opened(folder).search("0.0001ms", verify=False)
    assert opened(folder).status().next_command == usual
    opened(folder).search("9s", verify=False)
    assert not Workspace(folder).begun_search_path.exists()


@pytest.mark.slow
def test_a_stopped_training_of_a_teacher_is_told_with_what_was_changed_since(
    tmp_path: Path,
) -> None:
    root = make_encoder_folder(tmp_path, "classification")
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    assert part(root, "supernet").detail == "a training was stopped; `mosdeploy train` goes on"
    before = (root / "mosdeploy.toml").read_text()
    edit(root / "mosdeploy.toml", "[teacher]\nsteps = 40", "[teacher]\nsteps = 50")
    told = "teacher.steps was 40, is 50 now"
    assert told in part(root, "supernet").detail
    assert opened(root).status().next_command is None
    for _ in range(2):
        with pytest.raises(StaleInputError, match=told):
            opened(root).train()
    (root / "mosdeploy.toml").write_text(before)
    opened(root).train()
    assert part(root, "supernet").state == "ok"
    # what a kill at the very end of the teacher's training left
    (root / "teacher" / "checkpoint.pt").touch()
    assert part(root, "supernet").state == "ok"
    opened(root).train()
    assert not list((root / "teacher").glob("*.pt"))


def test_a_training_that_was_stopped_before_its_first_state_is_known(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=1)).train()
    assert not Workspace(root).checkpoint_path.exists()
    assert part(root, "supernet").state == "missing"
    assert opened(root).status().next_command == "mosdeploy train"


def test_a_supernet_counts_beside_another_training_that_was_stopped(folder: Path) -> None:
    path = folder / "mosdeploy.toml"
    edit(path, "\nsteps = 12", "\nsteps = 50")
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train()
    told = "; another training was stopped; it is in supernet-new/, delete that to forget it"
    # it goes on where the run file is still the one that it was begun with
    assert part(folder, "supernet").detail == "a training was stopped; `mosdeploy train` goes on"
    edit(path, "\nsteps = 50", "\nsteps = 12")
    supernet = part(folder, "supernet")
    assert supernet.state == "ok"
    assert supernet.detail.endswith(told)
    for read_data in (True, False):
        found = opened(folder).status(read_data=read_data)
        assert found.next_command == "mosdeploy finetune"
    progress = KeptProgress()
    opened(folder, progress).train()
    assert progress.messages == ["already trained from this data and configuration", told[2:]]
    # of neither of both: what would be refused is told
    edit(path, "\nsteps = 12", "\nsteps = 20")
    supernet = part(folder, "supernet")
    assert (supernet.state, supernet.command) == ("stale", "mosdeploy train")
    assert "steps was 12, is 20 now" in supernet.detail
    assert supernet.detail.endswith(told)
    shutil.rmtree(folder / "supernet-new")
    assert told not in part(folder, "supernet").detail


def test_a_stopped_training_on_other_data_is_another_one(folder: Path) -> None:
    path = folder / "data" / "train.en"
    before = path.read_text()
    change_data(folder)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).train()
    for read_data in (True, False):
        assert opened(folder).status(read_data=read_data).next_command == "mosdeploy train"
    assert "`mosdeploy train` goes on" in part(folder, "supernet").detail
    path.write_text(before)
    for read_data in (True, False):
        found = opened(folder).status(read_data=read_data)
        assert found.next_command == "mosdeploy finetune"
    assert part(folder, "supernet").state == "ok"
