"""Bundles for TVM, from export to a device; all but the refusals need apache-tvm."""

import json
import shutil
from pathlib import Path

import pytest
from walking import Silent

from mosdeploy import pipeline
from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import ConfigError
from mosdeploy.pipeline.runtime_selection import processor_of, tvm_build
from mosdeploy.records import Deployment


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, without bundles."""
    copy = Path(shutil.copytree(walked, tmp_path / "run"))
    shutil.rmtree(copy / "bundles")
    return copy


def ssh_profile(**keys: str) -> DeviceProfile:
    return DeviceProfile(name="board", kind="ssh", host="board", **keys)


def test_the_profile_says_what_to_compile_for() -> None:
    processor = processor_of(ssh_profile(machine="aarch64", llvm_cpu="cortex-a72"))
    assert (processor.machine, processor.cpu, processor.is_this_one) == (
        "aarch64",
        "cortex-a72",
        False,
    )
    assert str(processor) == "aarch64 cortex-a72"
    assert processor_of(DeviceProfile(name="here", kind="local")).is_this_one
    with pytest.raises(ConfigError, match=r"set machine .* and llvm_cpu"):
        processor_of(ssh_profile(machine="aarch64"))
    with pytest.raises(ConfigError, match="CUDAExecutionProvider; TVM bundles run on CPUs"):
        processor_of(ssh_profile(provider="CUDAExecutionProvider"))


def test_tuning_for_another_machine_is_refused(walked: Path) -> None:
    run = pipeline.open_run(walked)
    board = ssh_profile(machine="aarch64", llvm_cpu="cortex-a72")
    with pytest.raises(ConfigError, match="cannot tune for 'board'"):
        tvm_build(run, run.config.space.largest, run.config.workload, board, 60.0, Silent())


def test_times_of_an_emulated_device_choose_no_runtime(folder: Path) -> None:
    profile = folder / "device_profiles" / "local.toml"
    profile.write_text("emulated = true\n" + profile.read_text())
    with pytest.raises(ConfigError, match="'local' is emulated"):
        pipeline.export_fastest(
            pipeline.open_run(folder),
            "largest",
            None,
            None,
            Silent(),
            None,
            None,
            None,
            folder / "none",
            0.0,
        )


@pytest.mark.tvm
def test_a_bundle_for_tvm_is_deployed_and_translates(folder: Path) -> None:
    pytest.importorskip("tvm")
    run = pipeline.open_run(folder)
    exported = pipeline.export(run, "largest", None, None, Silent(), runtime="tvm")
    assert exported.path.name.endswith("-tvm-local")
    assert (
        exported.manifest.runtime == "tvm"
        and exported.manifest.parity.identical == exported.manifest.parity.num_pairs
    )
    assert set(exported.manifest.sha256) == {
        "model.so",
        "weights.bin",
        "tokenizer.model",
        "README.md",
    }
    sources = [test.source for test in exported.manifest.self_test]
    translated = pipeline.translate(folder, None, sources, 1).translations
    assert [pair.output for pair in translated] == [
        test.output for test in exported.manifest.self_test
    ]
    deployment: Deployment = pipeline.deploy(run, None, exported.path, folder / "none", Silent())
    assert deployment.self_test_passed and deployment.measurement.total is not None
    assert deployment.measurement.encoder is not None
    assert deployment.measurement.encoder.median_ms < deployment.measurement.total.median_ms


@pytest.mark.tvm
def test_auto_keeps_the_faster_of_two(folder: Path) -> None:
    pytest.importorskip("tvm")
    exported, choice = pipeline.export_fastest(
        pipeline.open_run(folder),
        "largest",
        None,
        None,
        Silent(),
        None,
        None,
        None,
        folder / "none",
        0.0,
    )
    times_ms = {timing.runtime: timing.measurement.total.median_ms for timing in choice.timings}
    assert set(times_ms) == {"onnxruntime", "tvm"} and choice.kept == min(
        times_ms, key=times_ms.get
    )
    assert [path.name for path in (folder / "bundles").iterdir()] == [exported.path.name]
    manifest = json.loads((exported.path / "manifest.json").read_text())
    assert manifest["runtime"] == choice.kept == exported.manifest.runtime
