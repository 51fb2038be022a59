"""Bundles for TVM, and the faster of two runtimes; all but the refusals need apache-tvm."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from walking import edit, opened

from mosdeploy.config.device import DeviceProfile
from mosdeploy.devices import deploy
from mosdeploy.errors import ConfigError, DeviceBusyError, DeviceError, ExportError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.pipeline import runtime_selection
from mosdeploy.pipeline.export_job import ExportOptions, ExportResult
from mosdeploy.pipeline.runtime_selection import (
    RuntimeCandidate,
    processor_of,
    select_fastest,
)
from mosdeploy.records import Measurement, Timing
from mosdeploy.run_folder.bundles import note_newest, require_bundle
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.summaries import RuntimeTiming
from mosdeploy.workspace import Workspace


@pytest.fixture
def without_bundles(folder: Path) -> Path:
    """A walked run folder without bundles."""
    shutil.rmtree(folder / "bundles")
    return folder


def board(**keys: str) -> DeviceProfile:
    return DeviceProfile(name="board", kind="ssh", host="board", **keys)


def steady(candidate: RuntimeCandidate, ms: float) -> RuntimeTiming:
    """A timing in which all repeats take as long."""
    total = Timing(median_ms=ms, p90_ms=ms, minimum_ms=ms, repeats=10)
    measurement = Measurement(total=total)
    return RuntimeTiming(runtime=candidate.runtime, measurement=measurement, error=None)


def test_the_profile_says_what_to_compile_for() -> None:
    processor = processor_of(board(machine="aarch64", llvm_cpu="cortex-a72"))
    assert (processor.machine, processor.cpu) == ("aarch64", "cortex-a72")
    assert not processor.is_this_one
    assert str(processor) == "aarch64 cortex-a72"
    assert processor_of(DeviceProfile(name="here", kind="local")).is_this_one
    with pytest.raises(ConfigError, match=r"set machine .* and llvm_cpu"):
        processor_of(board(machine="aarch64"))
    with pytest.raises(ConfigError, match="CUDAExecutionProvider; TVM bundles run on CPUs"):
        processor_of(board(provider="CUDAExecutionProvider"))


def test_times_of_an_emulated_device_choose_no_runtime(folder: Path) -> None:
    profile = folder / "device_profiles" / "local.toml"
    edit(profile, 'name = "local"', 'name = "local"\nemulated = true')
    with pytest.raises(ConfigError, match="'local' is emulated"):
        opened(folder).export("largest", runtime="auto")


def candidates_of(folder: Path) -> dict[str, RuntimeCandidate]:
    """Two bundles that stand for what was built for two runtimes."""
    result = opened(folder).export("largest")
    other = Path(shutil.copytree(result.path, result.path.with_name("other")))
    built = {
        "onnxruntime": result,
        "tvm": ExportResult(other, result.manifest, result.size_bytes),
    }
    return {name: RuntimeCandidate(name, built[name], None) for name in ("onnxruntime", "tvm")}


def use_times(monkeypatch: pytest.MonkeyPatch, times_ms: dict[str, float | None]) -> None:
    """Medians; the smaller one has the longer tail."""

    def timed(context, profile, candidate: RuntimeCandidate) -> RuntimeTiming:
        ms = times_ms[candidate.runtime]
        measurement = None
        if ms is not None:
            timing = Timing(median_ms=ms, p90_ms=ms + 9 / ms, minimum_ms=ms, repeats=3)
            measurement = Measurement(total=timing)
        error = "unplugged" if ms is None else None
        return RuntimeTiming(runtime=candidate.runtime, measurement=measurement, error=error)

    monkeypatch.setattr(runtime_selection, "_time", timed)


@pytest.mark.parametrize(
    ("onnx_ms", "tvm_ms", "kept"),
    [(2.0, 1.0, "tvm"), (1.0, 2.0, "onnxruntime"), (None, 9.0, "tvm")],
)
def test_the_faster_bundle_is_kept_alone(
    without_bundles: Path, monkeypatch, onnx_ms: float | None, tvm_ms: float, kept: str
) -> None:
    candidates = candidates_of(without_bundles)
    use_times(monkeypatch, {"onnxruntime": onnx_ms, "tvm": tvm_ms})
    context = Context(open_run(without_bundles))
    result = select_fastest(
        context, DeviceProfile(name="here", kind="local"), list(candidates.values())
    )
    assert result.runtime_choice is not None
    assert (result.runtime_choice.kept, result.runtime_choice.device) == (kept, "here")
    assert list((without_bundles / "bundles").glob("[!.]*")) == [candidates[kept].result.path]


def test_for_a_limit_on_the_tail_the_shorter_tail_is_kept(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = candidates_of(without_bundles)
    use_times(monkeypatch, {"onnxruntime": 1.0, "tvm": 2.0})
    tails = []
    for candidate in candidates.values():
        assert candidate.result is not None
        manifest = candidate.result.manifest.model_copy(update={"statistic": "p90"})
        result = dataclasses.replace(candidate.result, manifest=manifest)
        tails.append(dataclasses.replace(candidate, result=result))
    context = Context(open_run(without_bundles))
    result = select_fastest(context, DeviceProfile(name="here", kind="local"), tails)
    assert result.runtime_choice is not None
    assert result.runtime_choice.kept == "tvm"


def test_one_busy_minute_decides_nothing(without_bundles: Path, monkeypatch) -> None:
    """Each runtime is timed three times, by turns, and its median counts."""
    candidates = candidates_of(without_bundles)
    turns = []
    times = iter([9.0, 2.0, 1.0, 2.0, 1.0, 2.0])

    def timed(context: Context, profile: DeviceProfile, of: RuntimeCandidate) -> RuntimeTiming:
        turns.append(of.runtime)
        ms = next(times)
        return steady(of, ms)

    monkeypatch.setattr(runtime_selection, "_time", timed)
    context = Context(open_run(without_bundles))
    result = select_fastest(
        context, DeviceProfile(name="here", kind="local"), list(candidates.values())
    )
    assert turns == list(candidates) * 3
    assert result.runtime_choice is not None
    assert result.runtime_choice.kept == turns[0]  # its first timing was the longest of all


def test_a_kill_while_the_slower_bundle_is_removed_leaves_a_whole_one(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = candidates_of(without_bundles)
    note_newest(Workspace(without_bundles), candidates["tvm"].result.path)  # exported last
    use_times(monkeypatch, {"onnxruntime": 1.0, "tvm": 2.0})

    def killed(path: Path) -> None:
        (path / "model.onnx").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    context = Context(open_run(without_bundles))
    with pytest.raises(KeyboardInterrupt):
        select_fastest(context, DeviceProfile(name="here", kind="local"), list(candidates.values()))
    kept = candidates["onnxruntime"].result.path
    assert list((without_bundles / "bundles").glob("[!.]*")) == [kept]
    assert require_bundle(Workspace(without_bundles)) == kept
    read_manifest(kept)


def test_bundles_that_none_could_time_are_all_kept(without_bundles: Path, monkeypatch) -> None:
    candidates = candidates_of(without_bundles)
    use_times(monkeypatch, {"onnxruntime": None, "tvm": None})
    context = Context(open_run(without_bundles))
    with pytest.raises(DeviceError, match="onnxruntime: unplugged; tvm: unplugged"):
        select_fastest(context, DeviceProfile(name="here", kind="local"), list(candidates.values()))
    assert len(list((without_bundles / "bundles").glob("[!.]*"))) == 2


def test_a_busy_device_says_nothing_of_a_runtime(without_bundles: Path, monkeypatch) -> None:
    candidates = candidates_of(without_bundles)
    turns = iter(range(6))

    def timed(*_: object) -> Measurement:
        if next(turns) == 4:
            raise DeviceBusyError("here: another measurement holds the device")
        return Measurement(total=Timing(median_ms=1.0, p90_ms=1.0, minimum_ms=1.0, repeats=3))

    monkeypatch.setattr("mosdeploy.devices.deploy.stage_and_benchmark", timed)
    context = Context(open_run(without_bundles))
    device = run_profile(without_bundles, "local")
    with pytest.raises(DeviceBusyError, match="holds the device"):
        select_fastest(context, device, list(candidates.values()))
    assert all(x.result.path.is_dir() for x in candidates.values())


def test_precisions_are_not_compared_for_tvm(walked: Path) -> None:
    with pytest.raises(ConfigError, match=r"says nothing of TVM: name one with --precision"):
        opened(walked).export(precision="auto", runtime="tvm")


@pytest.mark.slow
def test_until_one_is_kept_none_is_the_newest(without_bundles: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime_selection, "select_fastest", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(without_bundles).export(runtime="auto")
    assert list((without_bundles / "bundles").glob("*/manifest.json"))
    assert not Workspace(without_bundles).newest_bundle_path.exists()


def test_when_nothing_was_built_each_reason_is_told(walked: Path) -> None:
    candidates = [RuntimeCandidate("onnxruntime", None, "a"), RuntimeCandidate("tvm", None, "b")]
    with pytest.raises(ExportError, match="onnxruntime: a; tvm: b"):
        select_fastest(
            Context(open_run(walked)), DeviceProfile(name="here", kind="local"), candidates
        )


@pytest.mark.tvm
def test_a_bundle_for_tvm_is_deployed_and_answers(without_bundles: Path) -> None:
    pytest.importorskip("tvm")
    run = opened(without_bundles)
    result = run.export("largest", runtime="tvm")
    manifest = result.manifest
    assert result.path.name.endswith("-tvm-local")
    assert manifest.runtime == "tvm"
    assert manifest.parity.identical == manifest.parity.num_examples
    assert set(manifest.sha256) == {"model.so", "weights.bin", "tokenizer.model", "README.md"}
    answers = run.predict([test.input for test in manifest.self_test], threads=1)
    assert answers == [test.output for test in manifest.self_test]
    deployment = run.deploy(bundle=result.path)
    measurement = deployment.measurement
    assert deployment.self_test_passed
    assert measurement.total is not None
    assert measurement.parts["encoder"].median_ms < measurement.total.median_ms


@pytest.mark.tvm
def test_auto_keeps_the_faster_of_two(without_bundles: Path) -> None:
    pytest.importorskip("tvm")
    result = opened(without_bundles).export("largest", runtime="auto")
    choice = result.runtime_choice
    assert choice is not None
    times_ms = {timing.runtime: timing.measurement.total.median_ms for timing in choice.timings}
    assert set(times_ms) == {"onnxruntime", "tvm"}
    assert choice.kept == min(times_ms, key=times_ms.get)
    assert list((without_bundles / "bundles").glob("[!.]*")) == [result.path]
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["runtime"] == choice.kept == result.manifest.runtime


def test_a_runtime_that_fails_in_a_later_round_is_not_kept(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faster one answers twice, and then no more."""
    candidates = candidates_of(without_bundles)
    turns: list[str] = []

    def timed(context: Context, profile: DeviceProfile, of: RuntimeCandidate) -> RuntimeTiming:
        turns.append(of.runtime)
        if turns.count("tvm") == 3 and of.runtime == "tvm":
            return RuntimeTiming(runtime="tvm", measurement=None, error="unplugged")
        ms = 1.0 if of.runtime == "tvm" else 2.0
        return steady(of, ms)

    monkeypatch.setattr(runtime_selection, "_time", timed)
    context = Context(open_run(without_bundles))
    result = select_fastest(
        context, DeviceProfile(name="here", kind="local"), list(candidates.values())
    )
    choice = result.runtime_choice
    assert choice is not None
    assert choice.kept == "onnxruntime"
    assert {x.runtime: (x.measurement is None, x.error) for x in choice.timings} == {
        "onnxruntime": (False, None),
        "tvm": (True, "unplugged"),
    }


def test_a_tail_is_timed_with_the_repeats_that_it_needs(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [candidate, _] = candidates_of(without_bundles).values()
    assert candidate.result is not None
    profiles: list[DeviceProfile] = []

    def measured(session: object, profile: DeviceProfile, *_: object) -> Measurement:
        profiles.append(profile)
        total = Timing(median_ms=1.0, p90_ms=1.0, p99_ms=1.0, minimum_ms=1.0, repeats=10)
        return Measurement(total=total)

    monkeypatch.setattr(deploy, "stage_and_benchmark", measured)
    manifest = candidate.result.manifest.model_copy(update={"statistic": "p99"})
    tail = dataclasses.replace(
        candidate, result=dataclasses.replace(candidate.result, manifest=manifest)
    )
    context = Context(open_run(without_bundles))
    here = run_profile(without_bundles, "local")
    assert select_fastest(context, here, [tail]).runtime_choice is not None
    assert profiles == [here.timed_for("p99")] * runtime_selection.ROUNDS
    assert here.timed_for("p99") != here


def test_the_precision_is_chosen_once_for_both_runtimes(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = opened(without_bundles).export("largest", precision="int8")
    asked: list[tuple[str, str | None]] = []

    def export(context: Context, options: ExportOptions) -> ExportResult:
        asked.append((options.runtime, options.precision))
        return built

    monkeypatch.setattr(runtime_selection, "select_fastest", lambda *_: built)
    context = Context(open_run(without_bundles))
    runtime_selection.select_runtime(
        context, ExportOptions(precision="auto", runtime="auto"), export
    )
    assert asked == [("onnxruntime", "auto"), ("tvm", "int8")]
