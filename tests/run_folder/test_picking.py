"""What `--pick` means, and what is said of it."""

import dataclasses
from functools import cached_property
from pathlib import Path

import pytest
from walking import KeptProgress, opened

from mosdeploy.errors import ConfigError, InfeasibleError
from mosdeploy.records import SearchResult
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import pick
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run


@dataclasses.dataclass(frozen=True)
class Searched(TrainedRun):
    """A trained run with a made-up front: 10 and 20 ms as predicted, 22 ms as measured."""

    @cached_property
    def found(self) -> SearchResult:
        result = super().search_result()
        spec_space = self.config.space
        slow = result.winner.model_copy(
            update={
                "base_loss": None,
                "arch": spec_space.largest,
                "loss": 1.0,
                "predicted_ms": 20.0,
                "measured_ms": 22.0,
            }
        )
        fast = result.winner.model_copy(
            update={
                "base_loss": None,
                "arch": spec_space.smallest,
                "loss": 2.0,
                "predicted_ms": 10.0,
                "measured_ms": None,
            }
        )
        unmeasured = slow.model_copy(update={"measured_ms": None})
        return result.model_copy(
            update={
                "winner": slow,
                "finalists": (slow,),
                "front": (fast, unmeasured),
                "level": 1.0,
            }
        )

    def search_result(self) -> SearchResult:
        return self.found


@pytest.fixture
def state(walked: Path) -> Searched:
    known = trained_run(open_run(walked))
    return Searched(known.run, known.card)


def picked(state: TrainedRun, name: str) -> tuple[object, str, list[str]]:
    progress = KeptProgress()
    found = pick(state, name, progress)
    return found.arch, found.label, progress.messages


def test_a_number_is_a_row_of_the_front(state: Searched) -> None:
    space = state.config.space
    fast = "picked 1 of the front: predicted 10.0 ms on local, not measured"
    slow = "picked 2 of the front: predicted 20.0 ms on local, measured 22.0 ms"
    assert picked(state, "1") == (space.smallest, "front 1", [fast])
    assert picked(state, "2") == (space.largest, "front 2", [slow])


def test_a_tail_is_said_to_be_one(state: Searched) -> None:
    state.__dict__["found"] = state.found.model_copy(update={"statistic": "p90"})
    assert picked(state, "1")[2] == [
        "picked 1 of the front: predicted 10.0 ms (p90) on local, not measured"
    ]


def test_a_corrected_prediction_is_told_as_such(state: Searched) -> None:
    state.__dict__["found"] = state.found.model_copy(update={"level": 1.25})
    assert picked(state, "2")[2] == [
        "picked 2 of the front: corrected prediction 20.0 ms on local, measured 22.0 ms"
    ]


@pytest.mark.parametrize(
    ("limit", "number"),
    [("10ms", 1), ("20ms", 1), ("21.9ms", 1), ("22ms", 2), ("1s", 2), ("22000us", 2)],
)
def test_a_limit_picks_the_best_that_keeps_it(state: Searched, limit: str, number: int) -> None:
    # 20 ms is predicted for the second, but 22 ms was measured
    assert picked(state, limit)[:2] == picked(state, str(number))[:2]


def test_other_names_mean_what_they_did(state: Searched, tmp_path: Path) -> None:
    space = state.config.space
    assert picked(state, "winner") == (space.largest, "winner", [])
    assert picked(state, "smallest") == (space.smallest, "smallest", [])
    path = tmp_path / "mine.json"
    path.write_text(space.smallest.model_dump_json())
    assert picked(state, str(path)) == (space.smallest, "mine", [])


@pytest.mark.parametrize("wrong", ["0", "3", "-1"])
def test_a_number_outside_the_front_is_refused(state: Searched, wrong: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{wrong}' is no number .*: write 1 .* to 2, or a lat"):
        picked(state, wrong)


@pytest.mark.parametrize("wrong", ["0ms", "1.2.3ms"])
def test_a_limit_that_is_none_is_refused(state: Searched, wrong: str) -> None:
    with pytest.raises(ConfigError, match="not a duration"):
        picked(state, wrong)


def test_a_limit_that_nothing_keeps_names_the_fastest(state: Searched) -> None:
    with pytest.raises(InfeasibleError, match="the fastest takes 10 ms on local") as caught:
        picked(state, "9ms")
    assert caught.value.fastest_latency_ms == 10.0
    slow = state.found.front[0].model_copy(update={"measured_ms": 30.0})
    front = (slow, *state.found.front[1:])
    state.__dict__["found"] = state.found.model_copy(update={"front": front})
    with pytest.raises(InfeasibleError, match="takes 22 ms on local; pick it as 2, or search"):
        picked(state, "9ms")


def test_a_front_without_latencies_is_picked_by_number(state: Searched) -> None:
    search = state.found
    front = tuple(x.model_copy(update={"predicted_ms": None}) for x in search.front)
    unpriced = Searched(state.run, state.card)
    unpriced.__dict__["found"] = search.model_copy(update={"front": front})
    with pytest.raises(ConfigError, match=r"no latency predictor.* pick by number, 1 to 2"):
        picked(unpriced, "18ms")
    assert picked(unpriced, "1")[2] == ["picked 1 of the front: its latency on local is not known"]


def test_every_verb_takes_a_pick(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    front = trained_run(open_run(folder)).search_result().front
    assert run.evaluate(("1",)).subnets["front 1"].arch == front[0].arch
    assert run.finetune("10s", steps=1).arch == front[-1].arch
    manifest = run.export("1").manifest
    assert (manifest.arch, manifest.device) == (front[0].arch, "local")
    assert "search" in manifest.provenance
    assert len([x for x in progress.messages if x.startswith("picked ")]) == 3
