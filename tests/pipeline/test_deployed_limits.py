"""A deployed bundle is held to its limits; a walk tries the next finalist where one is missed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from answers import timed
from walking import KeptProgress, deployment_of, edit, opened

from mosdeploy.devices import deploy as device_deploy
from mosdeploy.devices.measure import MeasurementTask
from mosdeploy.errors import CommandError, InfeasibleError
from mosdeploy.pipeline import walk
from mosdeploy.pipeline.deploy import fallback_candidates, suggest_fixes
from mosdeploy.pipeline.walk import MAX_DEPLOYMENTS, deliver
from mosdeploy.records import BundleManifest, Candidate, Measurement, SearchResult
from mosdeploy.run_folder.bundles import require_bundle
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import read_record, write_record
from mosdeploy.workspace import Workspace

MIB = 2**20


def found_in(root: Path) -> SearchResult:
    return read_record(SearchResult, Workspace(root).search_result_path, "mosdeploy search")


@pytest.fixture
def use_times(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes up the times of deployed models; lists the bundles that were timed."""

    def use_times(time_of: Callable[[str], float]) -> list[str]:
        asked: list[str] = []

        def measure_model(device: object, task: MeasurementTask) -> Measurement:
            folder = Path(str(task.build("model"))).parent
            asked.append(json.loads((folder / "manifest.json").read_text())["name"])
            return timed(time_of(asked[-1]))

        monkeypatch.setattr(device_deploy, "measure_model", measure_model)
        return asked

    return use_times


def test_a_bundle_that_is_too_slow_does_not_become_current(
    folder: Path, use_times: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    first = deployment_of(folder)
    bundle = run.export(precision="int8", beam=2)  # the limit holds for these too
    asked = use_times(lambda _: 20_000.0)
    with pytest.raises(InfeasibleError, match=r"`current` is unchanged.*--no-strict") as caught:
        run.deploy()
    assert caught.value.exit_code == 7
    assert caught.value.fastest_latency_ms == 20_000.0
    assert len(asked) == 3  # a slow one is timed twice more
    assert deployment_of(folder) == first
    made = run.deploy(strict=False)
    assert (made.bundle, made.limit_kept) == (bundle.path.name, False)
    assert made.limit_ms == first.limit_ms


def test_a_pick_is_held_to_the_limit_that_it_was_picked_by(
    folder: Path, use_times: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    for pick, limit_ms in {"1": 10_000.0, "5s": 5_000.0}.items():
        assert run.export(pick).manifest.limits.max_latency_ms == limit_ms
        use_times(lambda _, limit_ms=limit_ms: limit_ms + 10.0)
        with pytest.raises(InfeasibleError):
            run.deploy()
    use_times(lambda _: 4_000.0)
    assert run.deploy().limit_ms == 5_000.0


@pytest.mark.slow
def test_what_takes_more_memory_than_was_searched_for_does_not_become_current(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(folder)
    result = run.search("10s", max_memory=200 * MIB)
    assert all(0 < c.measured_memory_bytes < 200 * MIB for c in result.finalists)
    run.export()
    first = run.deploy()
    monkeypatch.setattr(
        device_deploy, "measure_model", lambda *_: timed(1.0, memory_bytes=201 * MIB)
    )
    with pytest.raises(InfeasibleError, match="201 MiB of memory there, the limit is 200 MiB"):
        run.deploy()
    assert deployment_of(folder) == first
    assert first.max_memory_bytes == 200 * MIB
    assert [run.verify(max_memory=x).kept for x in (None, 201 * MIB)] == [False, True]
    monkeypatch.setattr(device_deploy, "measure_model", lambda *_: timed(1.0))
    with pytest.raises(CommandError, match="local does not tell how much memory"):
        run.verify()


def test_a_bundle_is_held_to_the_limits_of_its_own_search(
    folder: Path, use_times: Callable[..., list[str]]
) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    run.search("20s", verify=False)
    use_times(lambda _: 15_000.0)
    with pytest.raises(InfeasibleError, match="the limit is 10000 ms"):
        run.deploy()
    assert [said for said in progress.messages if "for another search" in said]
    Workspace(folder).search_result_path.unlink()
    use_times(lambda _: 5_000.0)
    assert run.deploy().limit_kept


def change_search(root: Path, **measured: float) -> SearchResult:
    """Make up a search within 10 s: by name, what each candidate takes in seconds, best first."""
    result = found_in(root)
    space = open_run(root).config.space
    archs = {result.winner.arch.key: result.winner.arch}
    archs |= {x.key: x for x in (space.smallest, space.largest, *(c.arch for c in result.front))}
    candidates: list[Candidate] = []
    for loss, (arch, seconds) in enumerate(zip(archs.values(), measured.values(), strict=False), 1):
        made_up = {
            "arch": arch,
            "loss": float(loss),
            "base_loss": None,
            "trained_loss": None,
            "predicted_ms": seconds * 1e3,
            "measured_ms": seconds * 1e3,
            "measured_memory_bytes": int(seconds * MIB),
        }
        candidates.append(result.winner.model_copy(update=made_up))
    front = [x.model_copy(update={"measured_ms": None}) for x in candidates[1:]]
    changes = {"winner": candidates[0], "finalists": tuple(candidates), "front": tuple(front)}
    result = result.model_copy(update=changes)
    write_record(Workspace(root).search_result_path, result)
    return result


def test_a_fallback_is_expected_to_keep_the_limit_as_deployed(folder: Path) -> None:
    result = change_search(folder, winner=8.0, second=7.0, third=5.0)
    keys = [x.arch.key for x in result.finalists]
    context = Context(open_run(folder))
    manifest = opened(folder).export().manifest

    def fallbacks(deployed_ms: float | None, of: BundleManifest = manifest) -> list[str]:
        return [x.arch.key for x in fallback_candidates(context, of, deployed_ms)]

    # deployed, the winner took 1.3, 1.5 and 2.2 times as long as in the search
    assert [fallbacks(ms) for ms in (10.4e3, 12e3, 17.6e3)] == [keys[1:], keys[2:], []]
    # it was fast enough: both others took less memory
    assert fallbacks(9e3) == keys[1:]
    lower = {"limits": result.limits.model_copy(update={"max_latency_ms": 6e3})}
    assert fallbacks(8e3, manifest.model_copy(update=lower)) == keys[2:]
    assert fallbacks(12e3, manifest.model_copy(update={"device": "rpi"})) == []
    told = suggest_fixes(context, manifest, 12e3)
    assert f"`mosdeploy export --pick {keys[2]}`" in told
    trained = suggest_fixes(context, manifest.model_copy(update={"weights": "finetuned"}), 12e3)
    assert f"`mosdeploy finetune --pick {keys[2]}` and `mosdeploy export" in trained
    assert "--pick" not in suggest_fixes(context, manifest, 17.6e3)
    edit(folder / "mosdeploy.toml", "learning_rate = 5e-3", "learning_rate = 4e-3")
    opened(folder).train()
    context = Context(open_run(folder))
    assert fallbacks(12e3) == []  # of another supernet


@pytest.mark.slow
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_walk_trains_the_next_finalist_where_the_winner_is_too_slow(
    folder: Path,
    use_times: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    is_kept: bool,
) -> None:
    monkeypatch.setattr(walk, "MAX_DEPLOYMENTS", 2)
    assert MAX_DEPLOYMENTS > 2
    result = change_search(folder, winner=8.0, second=5.0, third=4.0)
    second = result.finalists[1].arch.key[:8]
    edit(folder / "mosdeploy.toml", "[workload]\n", "[finetune]\nsteps = 1\n\n[workload]\n")
    opened(folder).finetune()
    asked = use_times(lambda name: 1.0 if is_kept and second in name else 12e3)
    context = Context(open_run(folder))
    if is_kept:
        delivered = deliver(context, result)
        assert second in delivered.bundle and delivered.arch.key[:8] == second
        assert require_bundle(Workspace(folder)).name == delivered.deployment.bundle
    else:
        with pytest.raises(InfeasibleError, match=r"takes 12000 ms there"):
            deliver(context, result)
    assert len(set(asked)) == 2
    cards = (folder / "subnets").glob("*-finetuned/subnet.json")
    assert len({path.parent.name for path in cards}) == 2
