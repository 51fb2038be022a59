"""A deployed bundle is held to its limits; where it misses one, another finalist replaces it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from walking import KeptProgress, deployment_of, opened

from mosdeploy.devices import acceptance
from mosdeploy.devices.task import ModelTask
from mosdeploy.errors import (
    CommandError,
    ExportError,
    InfeasibleError,
    MosdeployError,
)
from mosdeploy.export.bundle import read_manifest
from mosdeploy.pipeline import deploy
from mosdeploy.pipeline.deploy import DeployOptions
from mosdeploy.pipeline.other_finalists import OtherFinalist, has_weights
from mosdeploy.pipeline.walk import deliver
from mosdeploy.records import Measurement, SearchResult, Timing
from mosdeploy.run_folder.bundles import require_bundle
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.search.front import front_members, needed_ms
from mosdeploy.storage import read_record, write_record
from mosdeploy.workspace import Workspace


def found_in(root: Path) -> SearchResult:
    return read_record(SearchResult, Workspace(root).search_result_path, "mosdeploy search")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes the times up that deployed models take; tells which were timed."""

    def timed(of: Callable[[str], float]) -> list[str]:
        asked: list[str] = []

        def measure_model(session: object, profile: object, task: ModelTask) -> Measurement:
            folder = Path(task.remote_path).parent
            manifest = json.loads((folder / "manifest.json").read_text())
            asked.append(json.dumps(manifest["arch"], sort_keys=True))
            ms = of(asked[-1])
            return Measurement(total=Timing(median_ms=ms, p90_ms=ms, minimum_ms=ms, repeats=1))

        monkeypatch.setattr(acceptance, "measure_model", measure_model)
        return asked

    return timed


@pytest.mark.slow
def test_the_next_finalist_takes_the_place_of_a_winner_that_is_too_slow(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    first = run.deploy()
    result = found_in(folder)
    others = [c for c in result.kept if c.arch != result.winner.arch]
    assert others
    lost = {json.dumps(result.winner.arch.model_dump(mode="json"), sort_keys=True)}
    asked = timed(lambda arch: 20_000.0 if arch in lost else 1.0)
    made = run.deploy()
    assert [asked.count(arch) for arch in dict.fromkeys(asked)] == [3, 1]
    assert made.bundle != first.bundle
    assert made.limit_ms == first.limit_ms
    assert made.measurement.total.median_ms == 1.0
    best = min(others, key=lambda candidate: candidate.loss)
    assert best.arch.key[:8] in made.bundle
    assert require_bundle(Workspace(folder)).name == made.bundle
    # a bundle that is named is the one that is meant
    with pytest.raises(InfeasibleError, match="takes 20000 ms there"):
        run.deploy(bundle=folder / "bundles" / first.bundle)
    assert deployment_of(folder) == made
    assert run.deploy(bundle=folder / "bundles" / first.bundle, strict=False).bundle == first.bundle


@pytest.mark.slow
def test_the_limit_holds_at_another_precision_and_beam(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    limit_ms = deployment_of(folder).limit_ms
    run.export(precision="int8", beam=2)
    winner = json.dumps(found_in(folder).winner.arch.model_dump(mode="json"), sort_keys=True)
    asked = timed(lambda arch: 20_000.0 if arch == winner else 1.0)
    made = run.deploy()
    assert len(set(asked)) == 2
    assert made.bundle.endswith("int8-beam2")
    assert made.limit_ms == limit_ms
    assert made.limit_kept


@pytest.mark.slow
def test_a_pick_is_held_to_its_limit_and_none_takes_its_place(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    first = deployment_of(folder)
    result = found_in(folder)
    other = next(c.arch.key for c in result.kept if c.arch != result.winner.arch)
    for pick, limit_ms in {"1": 10_000.0, other: 10_000.0, "5s": 5_000.0}.items():
        manifest = run.export(pick).manifest
        assert manifest.limit_ms == limit_ms
        asked = timed(lambda arch, limit_ms=limit_ms: limit_ms + 10.0)
        with pytest.raises(InfeasibleError, match=r"`current` is unchanged\. .*--no-strict$"):
            run.deploy()
        assert len(set(asked)) == 1
        assert deployment_of(folder) == first
    timed(lambda arch: 4_000.0)
    assert run.deploy().limit_ms == 5_000.0
    # what was written holds at another precision too
    assert run.export("5s", precision="int8").manifest.limit_ms == 5_000.0
    assert run.export("1", precision="int8").manifest.limit_ms == 10_000.0


def test_finalists_that_cannot_be_exported_are_passed_over(
    folder: Path, timed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = found_in(folder)
    others = {c.arch.key[:8] for c in result.kept if c.arch != result.winner.arch}
    opened(folder).export()

    def fails(*_: object) -> Path:
        raise ExportError("its answers differ")

    monkeypatch.setattr(deploy, "export_in_place_of", fails)
    timed(lambda arch: 20_000.0)
    progress = KeptProgress()
    with pytest.raises(InfeasibleError, match=r"takes 20000 ms there"):
        opened(folder, progress).deploy()
    told = {f"the finalist {key} has no bundle: its answers differ" for key in others}
    assert told and told <= set(progress.messages)


@pytest.mark.slow
def test_when_no_finalist_is_left_the_fastest_is_named(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    first = run.deploy()
    times: dict[str, float] = {}
    asked = timed(lambda arch: times.setdefault(arch, 30_000.0 - 1_000 * len(times)))
    with pytest.raises(InfeasibleError) as raised:
        run.deploy()
    assert len(times) == len(set(asked)) == len(found_in(folder).kept)
    assert raised.value.fastest_latency_ms == min(times.values())
    assert f"takes {min(times.values()):.0f} ms there" in str(raised.value)
    # what is exported still is what the user exported
    assert require_bundle(Workspace(folder)).name == first.bundle
    assert run.verify("40s").deployment == deployment_of(folder) == first


@pytest.mark.slow
def test_what_takes_more_memory_than_was_searched_for_does_not_become_current(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(folder)
    result = run.search("10s", max_memory_bytes=200 * 2**20)
    assert result.finalists
    assert all(0 < c.measured_memory_bytes < 200 * 2**20 for c in result.finalists)
    run.export()
    first = run.deploy()
    timing = Timing(median_ms=1.0, p90_ms=1.0, minimum_ms=1.0, repeats=1)
    taken = Measurement(total=timing, memory_bytes=201 * 2**20)
    monkeypatch.setattr(acceptance, "measure_model", lambda *_: taken)
    with pytest.raises(InfeasibleError, match="201 MiB of memory there, the limit is 200 MiB"):
        run.deploy()
    assert deployment_of(folder) == first
    assert first.max_memory_bytes == 200 * 2**20
    assert [run.verify(max_memory_bytes=x).kept for x in (None, 201 * 2**20)] == [False, True]
    told = Measurement(total=timing)
    monkeypatch.setattr(acceptance, "measure_model", lambda *_: told)
    with pytest.raises(CommandError, match="local does not tell how much memory"):
        run.verify()


def others_measured(folder: Path, share: float, memory_bytes: int | None = None) -> str:
    """Make up what finalists took in the search: times as a share of the winner's, and memory, of
    which the winner took 190 MiB; the key of the best.
    """
    result = found_in(folder)
    own = {"measured_ms": 2.0, "measured_memory_bytes": 190 << 20 if memory_bytes else None}
    other = {"measured_ms": 2.0 * share, "measured_memory_bytes": memory_bytes}
    finalists = [
        c.model_copy(update=own if c.arch == result.winner.arch else other)
        for c in result.finalists
    ]
    path = Workspace(folder).search_result_path
    write_record(path, result.model_copy(update={"finalists": tuple(finalists)}))
    others = [c for c in finalists if c.arch != result.winner.arch]
    return min(others, key=lambda candidate: candidate.loss).arch.key


@pytest.mark.slow
@pytest.mark.parametrize("from_scratch", [False, True])
def test_trained_weights_are_not_replaced_by_inherited_ones(
    folder: Path, timed: Callable[..., list[str]], from_scratch: bool
) -> None:
    run = opened(folder)
    key = others_measured(folder, 0.5)
    run.finetune(steps=1, from_scratch=from_scratch)
    run.export(weights="scratch" if from_scratch else "finetuned")
    asked = timed(lambda arch: 15_000.0)
    with pytest.raises(InfeasibleError, match="the limit is 10000 ms") as raised:
        run.deploy()
    assert len(set(asked)) == 1
    option = " --from-scratch" if from_scratch else ""
    assert f"`mosdeploy finetune{option} --pick {key}`" in str(raised.value)
    # what it says to do does it
    run.finetune(key, steps=1, from_scratch=from_scratch)
    missed = json.dumps(found_in(folder).winner.arch.model_dump(mode="json"), sort_keys=True)
    timed(lambda arch: 15_000.0 if arch == missed else 1.0)
    assert key[:8] in run.deploy().bundle


@pytest.mark.slow
@pytest.mark.parametrize("taken_ms", [1.0, 15_000.0])
def test_a_walk_trains_the_next_finalist_where_the_winner_is_too_slow(
    folder: Path, timed: Callable[..., list[str]], taken_ms: float
) -> None:
    run = opened(folder)
    key = others_measured(folder, 0.5)
    run.finetune(steps=1)
    run.export(weights="finetuned")
    missed = json.dumps(found_in(folder).winner.arch.model_dump(mode="json"), sort_keys=True)
    asked = timed(lambda arch: 15_000.0 if arch == missed else taken_ms)
    context = Context(open_run(folder))
    if taken_ms < 10_000.0:
        assert key[:8] in deliver(context, found_in(folder)).bundle
    else:
        with pytest.raises(InfeasibleError) as raised:
            deploy.deploy(context, DeployOptions(train=True))
        assert f"--pick {key}" not in str(raised.value)
    assert len(set(asked)) == 2
    cards = (folder / "subnets").glob("*-finetuned/subnet.json")
    assert len({path.parent.name for path in cards}) == 2


@pytest.mark.slow
def test_where_the_next_finalist_cannot_be_trained_a_walk_says_what_helps(
    folder: Path, timed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(folder)
    key = others_measured(folder, 0.5)
    run.finetune(steps=1)
    run.export(weights="finetuned")
    timed(lambda arch: 15_000.0)

    def diverge(*_: object) -> None:
        raise MosdeployError("the loss is not finite")

    monkeypatch.setattr("mosdeploy.pipeline.finetune.finetune", diverge)
    progress = KeptProgress()
    with pytest.raises(InfeasibleError, match=f"`mosdeploy finetune --pick {key}`"):
        deploy.deploy(Context(open_run(folder), progress), DeployOptions(train=True))
    told = f"the finalist {key[:8]} could not be trained: the loss is not finite"
    assert told in progress.messages


@pytest.mark.slow
@pytest.mark.parametrize(("mebibytes", "count"), [(199, 0), (150, 1)])
def test_for_memory_a_finalist_is_trained_that_took_less(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int, count: int
) -> None:
    run = opened(folder)
    run.search("10s", max_memory_bytes=200 << 20)
    others_measured(folder, 0.5, mebibytes << 20)
    run.finetune(steps=1)
    run.export(weights="finetuned")
    timing = Timing(median_ms=1.0, p90_ms=1.0, minimum_ms=1.0, repeats=1)
    taken = Measurement(total=timing, memory_bytes=201 << 20)
    monkeypatch.setattr(acceptance, "measure_model", lambda *_: taken)
    progress = KeptProgress()
    with pytest.raises(InfeasibleError, match="the limit is 200 MiB"):
        deploy.deploy(Context(open_run(folder), progress), DeployOptions(train=True))
    trained = [text for text in progress.messages if "Training the finalist" in text]
    assert len(trained) == count


def test_no_finalist_is_trained_that_is_expected_to_be_too_slow(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    others_measured(folder, 0.9)
    run.finetune(steps=1)
    run.export(weights="finetuned")
    timed(lambda arch: 15_000.0)
    with pytest.raises(InfeasibleError) as raised:
        run.deploy()
    told = str(raised.value)
    assert "train the next finalist" not in told
    # none of those that may be trained is one of them
    finalists = {candidate.arch.key for candidate in found_in(folder).finalists}
    assert not [key for key in finalists if key in told]


def test_weights_take_the_place_of_weights_of_their_kind(walked: Path) -> None:
    context = Context(open_run(walked))
    manifest = read_manifest(require_bundle(Workspace(walked)))
    other = OtherFinalist(found_in(walked).winner, expected_ms=1.0, is_too_slow=False)
    for weights, there in (("inherited", True), ("finetuned", False), ("teacher", False)):
        asked = manifest.model_copy(update={"weights": weights})
        assert has_weights(context, asked, other) == there


@pytest.mark.slow
def test_a_bundle_of_an_earlier_search_is_held_to_the_limit_of_the_last_one(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    bundle = require_bundle(Workspace(folder)).name
    run.search("5s")
    timed(lambda arch: 6_000.0)
    with pytest.raises(InfeasibleError, match=r"takes 6000 ms there .*, the limit is 5000 ms"):
        run.deploy()
    told = f"{bundle} was exported for another search than the one at hand"
    assert [said for said in progress.messages if told in said]
    timed(lambda arch: 4_000.0)
    assert run.deploy().limit_ms == 5_000.0
    # what was searched for another device says nothing of this one
    path = Workspace(folder).search_result_path
    write_record(path, found_in(folder).model_copy(update={"device": "rpi"}))
    assert run.deploy().limit_ms == 10_000.0


@pytest.mark.slow
def test_one_that_was_picked_is_held_to_all_limits_of_its_own_search(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    run.search("8s", max_memory_bytes=2**30, verify=False)
    run.export("1", weights="inherited")
    run.search("5s", verify=False)
    timed(lambda arch: 6_000.0)
    deployment = run.deploy()
    assert (deployment.limit_ms, deployment.max_memory_bytes) == (8_000.0, 2**30)
    assert [said for said in progress.messages if "its own limits hold" in said]


@pytest.mark.slow
def test_a_pick_of_a_search_without_a_latency_is_not_held_to_a_later_one(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    run.search(max_parameters=10**7, verify=False)
    run.export("1")
    run.search("5s", verify=False)
    timed(lambda arch: 6_000.0)
    assert run.deploy().limit_ms is None


def test_a_bundle_is_not_held_to_a_search_for_other_work(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    own_ms = run.deploy().limit_ms
    result = found_in(folder)
    changes = {"source_len": 24, "beam": 3}
    workload = result.workload.model_copy(update=changes)
    limits = result.limits.model_copy(update={"max_latency_ms": 2.0})
    changed = result.model_copy(update={"workload": workload, "limits": limits})
    write_record(Workspace(folder).search_result_path, changed)
    timed(lambda arch: 1.0)
    assert own_ms != 2.0
    assert run.deploy().limit_ms == own_ms
    # another beam is what an export may change
    workload = result.workload.model_copy(update={"beam": 3})
    changed = result.model_copy(update={"workload": workload, "limits": limits})
    write_record(Workspace(folder).search_result_path, changed)
    assert run.deploy().limit_ms == 2.0


def test_a_number_that_would_keep_the_limit_of_a_pick_is_held_to_the_searchs(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    slowest = max(needed_ms(x) or 0.0 for x in front_members(found_in(folder)))
    limit_ms = run.export(f"{slowest * 1.0001}ms").manifest.limit_ms
    timed(lambda arch: limit_ms * 1.2)
    with pytest.raises(InfeasibleError, match=r"--pick \d+.* is held to the search's limit, ") as e:
        run.deploy()
    assert f"`mosdeploy verify --max-latency {limit_ms:g}ms` then holds it to yours" in str(e.value)


def test_a_bundle_whose_limits_nothing_tells_is_checked_for_none(
    folder: Path, timed: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    timed(lambda arch: 20_000.0)
    path = require_bundle(Workspace(folder)) / "manifest.json"
    manifest = read_manifest(path.parent)
    # as an older mosdeploy wrote it, and a later search for another device
    write_record(path, manifest.model_copy(update={"search_limits": None}))
    result_path = Workspace(folder).search_result_path
    write_record(result_path, found_in(folder).model_copy(update={"device": "rpi"}))
    for bundle in (None, path.parent):
        caplog.clear()
        assert run.deploy(bundle=bundle).limit_ms is None
        assert f"{manifest.name} was exported by an older mosdeploy" in caplog.text
    assert not [said for said in progress.messages if "its own limits hold" in said]


@pytest.mark.slow
def test_a_bundle_that_is_named_is_held_to_the_limits_of_its_own_search(
    folder: Path, timed: Callable[..., list[str]]
) -> None:
    run = opened(folder)
    bundle = require_bundle(Workspace(folder))
    run.search("20s", verify=False)
    timed(lambda arch: 15_000.0)
    with pytest.raises(InfeasibleError, match=r"takes 15000 ms there .*, the limit is 10000 ms"):
        run.deploy(bundle=bundle)
    Workspace(folder).search_result_path.unlink()
    timed(lambda arch: 5_000.0)
    assert run.deploy(bundle=bundle).limit_kept
