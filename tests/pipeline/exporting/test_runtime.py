"""Bundles for TVM, and the faster of two runtimes; all but the refusals need apache-tvm."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from walking import edit, opened

from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import ConfigError, DeviceBusyError, DeviceError, ExportError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.export.tvm import Processor
from mosdeploy.pipeline.exporting import runtime
from mosdeploy.pipeline.exporting.export_job import ExportOptions, ExportResult
from mosdeploy.pipeline.exporting.runtime import select_fastest
from mosdeploy.records import Measurement, Runtime, Timing
from mosdeploy.run_folder.bundles import note_newest, require_bundle
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.summaries import RuntimeChoice
from mosdeploy.workspace import Workspace


@pytest.fixture
def without_bundles(folder: Path) -> Path:
    """A walked run folder without bundles."""
    shutil.rmtree(folder / "bundles")
    return folder


def board(**keys: str) -> DeviceProfile:
    return DeviceProfile(name="board", kind="ssh", host="board", **keys)


def test_the_profile_says_what_to_compile_for() -> None:
    processor = Processor.of(board(machine="aarch64", llvm_cpu="cortex-a72"))
    assert (processor.machine, processor.cpu) == ("aarch64", "cortex-a72")
    assert not processor.is_this_one
    assert str(processor) == "aarch64 cortex-a72"
    assert Processor.of(DeviceProfile(name="here", kind="local")).is_this_one
    with pytest.raises(ConfigError, match=r"set machine .* and llvm_cpu"):
        Processor.of(board(machine="aarch64"))
    with pytest.raises(ConfigError, match="CUDAExecutionProvider; TVM bundles run on CPUs"):
        Processor.of(board(provider="CUDAExecutionProvider"))


def test_times_of_an_emulated_device_choose_no_runtime(folder: Path) -> None:
    profile = folder / "device_profiles" / "local.toml"
    edit(profile, 'name = "local"', 'name = "local"\nemulated = true')
    with pytest.raises(ConfigError, match="'local' is emulated"):
        opened(folder).export("largest", runtime="auto")


def two_bundles(folder: Path) -> dict[Runtime, ExportResult]:
    """Two bundles that stand for what was built for two runtimes."""
    result = opened(folder).export("largest")
    other = Path(shutil.copytree(result.path, result.path.with_name("other")))
    return {
        "onnxruntime": result,
        "tvm": ExportResult(other, result.manifest, result.size_bytes),
    }


def use_times(monkeypatch: pytest.MonkeyPatch, times_ms: dict[Runtime, float | None]) -> None:
    """Medians; the smaller one has the longer tail."""

    def timed(*_: object) -> dict[Runtime, Measurement]:
        found: dict[Runtime, Measurement] = {}
        for name, ms in times_ms.items():
            found[name] = Measurement(error="unplugged")
            if ms is not None:
                total = Timing(
                    median_ms=ms, p90_ms=ms + 9 / ms, p99_ms=ms + 9 / ms, minimum_ms=ms, repeats=3
                )
                found[name] = Measurement(total=total)
        return found

    monkeypatch.setattr(runtime, "_time", timed)


def select(folder: Path, built: dict[Runtime, ExportResult]) -> RuntimeChoice:
    here = DeviceProfile(name="here", kind="local")
    choice = select_fastest(Context(open_run(folder)), here, built, {}).runtime_choice
    assert choice is not None
    return choice


@pytest.mark.parametrize(
    ("onnx_ms", "tvm_ms", "kept"),
    [(2.0, 1.0, "tvm"), (1.0, 2.0, "onnxruntime"), (None, 9.0, "tvm")],
)
def test_the_faster_bundle_is_kept_alone(
    without_bundles: Path, monkeypatch, onnx_ms: float | None, tvm_ms: float, kept: Runtime
) -> None:
    built = two_bundles(without_bundles)
    use_times(monkeypatch, {"onnxruntime": onnx_ms, "tvm": tvm_ms})
    choice = select(without_bundles, built)
    assert (choice.kept, choice.device) == (kept, "here")
    assert [(x.runtime, x.error) for x in choice.timings] == [
        ("onnxruntime", "unplugged" if onnx_ms is None else None),
        ("tvm", None),
    ]
    assert list((without_bundles / "bundles").glob("[!.]*")) == [built[kept].path]


def test_for_a_limit_on_the_tail_the_shorter_tail_is_kept(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_times(monkeypatch, {"onnxruntime": 1.0, "tvm": 2.0})
    tails = {}
    for name, result in two_bundles(without_bundles).items():
        manifest = result.manifest.model_copy(update={"statistic": "p90"})
        tails[name] = dataclasses.replace(result, manifest=manifest)
    assert select(without_bundles, tails).kept == "tvm"


def test_a_bundle_that_fails_its_self_test_is_not_timed(without_bundles: Path) -> None:
    built = two_bundles(without_bundles)
    path = built["tvm"].path / "manifest.json"
    path.write_text(path.read_text().replace('"output": "', '"output": "other '))
    built["tvm"] = dataclasses.replace(built["tvm"], manifest=read_manifest(path.parent))
    here = run_profile(without_bundles, "local")
    choice = select_fastest(Context(open_run(without_bundles)), here, built, {}).runtime_choice
    assert choice is not None
    assert choice.kept == "onnxruntime"
    first, second = choice.timings
    assert first.measurement is not None and first.error is None
    assert second.measurement is None and "self-test failed" in str(second.error)


def test_a_kill_while_the_slower_bundle_is_removed_leaves_a_whole_one(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = two_bundles(without_bundles)
    note_newest(Workspace(without_bundles), built["tvm"].path)  # exported last
    use_times(monkeypatch, {"onnxruntime": 1.0, "tvm": 2.0})

    def killed(path: Path) -> None:
        (path / "model.onnx").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        select(without_bundles, built)
    kept = built["onnxruntime"].path
    assert list((without_bundles / "bundles").glob("[!.]*")) == [kept]
    assert require_bundle(Workspace(without_bundles)) == kept
    read_manifest(kept)


def test_where_no_time_is_known_each_reason_is_told(without_bundles: Path, monkeypatch) -> None:
    context = Context(open_run(without_bundles))
    here = DeviceProfile(name="here", kind="local")
    with pytest.raises(ExportError, match="onnxruntime: a; tvm: b"):
        select_fastest(context, here, {}, {"onnxruntime": "a", "tvm": "b"})
    built = two_bundles(without_bundles)
    use_times(monkeypatch, {"onnxruntime": None, "tvm": None})
    with pytest.raises(DeviceError, match="onnxruntime: unplugged; tvm: unplugged"):
        select(without_bundles, built)
    assert all(x.path.is_dir() for x in built.values())


def test_a_busy_device_says_nothing_of_a_runtime(without_bundles: Path, monkeypatch) -> None:
    def busy(*_: object) -> Measurement:
        raise DeviceBusyError("here: another measurement holds the device")

    monkeypatch.setattr("mosdeploy.devices.deploy.stage", busy)
    built = two_bundles(without_bundles)
    here = run_profile(without_bundles, "local")
    with pytest.raises(DeviceBusyError, match="holds the device"):
        select_fastest(Context(open_run(without_bundles)), here, built, {})
    assert all(x.path.is_dir() for x in built.values())


def test_precisions_are_not_compared_for_tvm(walked: Path) -> None:
    with pytest.raises(ConfigError, match=r"says nothing of TVM: name one with --precision"):
        opened(walked).export(precision="auto", runtime="tvm")


@pytest.mark.slow
def test_until_one_is_kept_none_is_the_newest(without_bundles: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime, "select_fastest", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(without_bundles).export(runtime="auto")
    assert list((without_bundles / "bundles").glob("*/manifest.json"))
    assert not Workspace(without_bundles).newest_bundle_path.exists()


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


def test_the_precision_is_chosen_once_for_both_runtimes(
    without_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = opened(without_bundles).export("largest", precision="int8")
    asked: list[tuple[str, str | None]] = []

    def export(context: Context, options: ExportOptions, *, is_newest: bool) -> ExportResult:
        assert not is_newest
        asked.append((options.runtime, options.precision))
        return built

    monkeypatch.setattr(runtime, "select_fastest", lambda *_: built)
    context = Context(open_run(without_bundles))
    runtime.select_runtime(context, ExportOptions(precision="auto", runtime="auto"), export)
    assert asked == [("onnxruntime", "auto"), ("tvm", "int8")]
