"""The laws of an artifact, whatever it is."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import JsonValue

from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.record import load_json
from mosdeploy.run_folder import artifact as module
from mosdeploy.run_folder.artifact import Artifact, Inputs, Made, explain_difference
from mosdeploy.storage import atomic_write, locked

INPUTS: dict[str, JsonValue] = {"training.steps": 100, "data": "sha256:aa"}


@dataclass
class Toy:
    """An artifact of two steps, each kept on disk, that counts how often a step was done."""

    root: Path
    inputs: dict[str, JsonValue] = field(default_factory=lambda: dict(INPUTS))
    done: list[str] = field(default_factory=list)
    in_place: bool = False

    @property
    def artifact(self) -> Artifact:
        return Artifact(
            "supernet",
            self.root / "supernet",
            "mosdeploy train",
            lambda: self.inputs,
            self.made,
            in_place=self.in_place,
        )

    def made(self, folder: Path) -> Made | None:
        path = folder / "card.json"
        if not path.exists():
            return None
        card = load_json(path.read_text())
        if not (folder / "weights").exists():
            raise StaleInputError("its weights are gone")
        return Made(card, "fine")

    def make(self, asked: Inputs | None = None) -> bool:
        with self.artifact.make("mosdeploy train --time 2h", asked) as making:
            if making.is_done:
                return False
            for step in ("checkpoint", "weights"):
                path = making.folder / step
                if not path.exists():
                    self.done.append(step)
                    atomic_write(path, step)
            atomic_write(making.folder / "card.json", json.dumps(making.inputs))
        return True


@pytest.fixture(params=[False, True], ids=["replaced", "in place"])
def toy(tmp_path: Path, request: pytest.FixtureRequest) -> Toy:
    return Toy(tmp_path, in_place=request.param)


def test_what_is_not_there_is_missing(toy: Toy) -> None:
    state = toy.artifact.state()
    assert (state.state, state.command) == ("missing", "mosdeploy train")
    with pytest.raises(StaleInputError, match="mosdeploy train"):
        toy.artifact.require()


def test_what_was_made_counts_and_is_not_made_again(toy: Toy) -> None:
    assert toy.make()
    assert (toy.artifact.state().state, toy.artifact.state().detail) == ("ok", "fine")
    assert not toy.make()
    assert toy.done == ["checkpoint", "weights"]
    assert sorted(x.name for x in toy.root.iterdir() if x.is_dir()) == ["supernet"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("training.steps", 200, "was 100, is 200 now"), ("data", "sha256:bb", "data has changed")],
)
def test_another_input_makes_it_stale(toy: Toy, name: str, value: JsonValue, told: str) -> None:
    toy.make()
    toy.inputs[name] = value
    state = toy.artifact.state()
    assert (state.state, state.command) == ("stale", "mosdeploy train")
    assert told in state.detail
    with pytest.raises(StaleInputError, match=told):
        toy.artifact.require()


def test_an_option_of_its_command_makes_nothing_stale_but_another_artifact(toy: Toy) -> None:
    toy.make({"limit_ms": 5})
    assert toy.artifact.state().state == "ok"
    assert not toy.make({"limit_ms": 5})
    toy.done.clear()
    assert toy.make({"limit_ms": 6})


def test_a_damaged_one_is_stale(toy: Toy) -> None:
    toy.make()
    (toy.root / "supernet" / "weights").unlink()
    assert toy.artifact.state().state == "stale"
    assert toy.make()
    assert toy.artifact.state().state == "ok"


def test_one_under_work_runs_and_is_refused(toy: Toy) -> None:
    with locked(toy.root / "supernet", MosdeployError("busy")):
        state = toy.artifact.state()
        assert (state.state, state.command) == ("running", None)
        with pytest.raises(MosdeployError, match="runs already"):
            toy.make()


class Killed(BaseException):
    """What ends a process at once."""


def _kill_at_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kill at the n-th call that changes the disk, before it."""
    count = 0

    def counted(change):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            if count == number:
                raise Killed
            return change(*arguments, **options)

        return call

    for owner, name in (
        (module, "write_record"),
        (module, "replace_folder"),
        (module.shutil, "rmtree"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    monkeypatch.setitem(globals(), "atomic_write", counted(atomic_write))


@pytest.mark.parametrize("is_first", [True, False], ids=["the first", "in place of another"])
@pytest.mark.parametrize("number", range(1, 12))
def test_a_kill_at_any_write_loses_and_repeats_nothing(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, number: int, is_first: bool
) -> None:
    if not is_first:
        toy.make()
        toy.inputs["training.steps"] = 200
        if toy.in_place:
            for name in ("checkpoint", "weights"):
                (toy.root / "supernet" / name).unlink()
        toy.done.clear()
    with monkeypatch.context() as patch:
        _kill_at_write(patch, number)
        try:
            toy.make()
        except Killed:
            assert toy.artifact.state().state in ("missing", "stale", "stopped", "ok")
    if not is_first and not toy.in_place:
        assert toy.made(toy.root / "supernet") is not None  # the old one or the new one, whole
    toy.make()
    assert toy.artifact.state().state == "ok"
    assert toy.artifact.require().inputs == toy.inputs
    # a kill just before a write repeats that write alone
    assert len(toy.done) <= 3
    assert sorted(x.name for x in toy.root.iterdir() if x.is_dir()) == ["supernet"]
    assert not (toy.root / "supernet" / "job.json").exists()


def test_a_stopped_one_goes_on_by_its_own_command(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _kill_at_write(patch, 3)
        with pytest.raises(Killed):
            toy.make()
    state = toy.artifact.state()
    assert (state.state, state.command) == ("stopped", "mosdeploy train --time 2h")


def test_a_stopped_one_of_other_inputs_is_refused_until_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy(tmp_path)
    with monkeypatch.context() as patch:
        _kill_at_write(patch, 3)
        with pytest.raises(Killed):
            toy.make()
    toy.inputs["training.steps"] = 200
    state = toy.artifact.state()
    assert (state.state, state.command) == ("stopped", None)
    assert "was 100, is 200 now" in state.detail
    with pytest.raises(StaleInputError, match=r"--time 2h.*was 100, is 200 now"):
        toy.make()


def test_a_whole_one_stays_ok_beside_a_stopped_one_of_other_inputs(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.make()
    toy.inputs["training.steps"] = 200
    with pytest.MonkeyPatch.context() as patch:
        _kill_at_write(patch, 3)
        with pytest.raises(Killed):
            toy.make()
    toy.inputs["training.steps"] = 100
    state = toy.artifact.state()
    assert state.state == "ok"
    assert "supernet-new" in state.detail


def test_differences_are_told_by_name() -> None:
    then: Inputs = {"a": 1, "data": "sha256:1", "limit": 3}
    assert explain_difference(then, {"a": 1, "data": "sha256:1"}) == ""
    told = explain_difference(then, {"a": 2, "data": "sha256:2", "b": True})
    assert told == "a was 1, is 2 now, the data has changed, b was unset, is true now"
