"""Bundles on a device: tested and timed there, rolled back, recorded."""

import shutil
from pathlib import Path

import pytest
from walking import damage, edit, opened

from mosdeploy.errors import BundleError, ConfigError, StaleInputError
from mosdeploy.pipeline.bundles import require_bundle
from mosdeploy.pipeline.context import Context
from mosdeploy.pipeline.deploy import DeployOptions, roll_back
from mosdeploy.pipeline.run import open_run
from mosdeploy.records import Deployment
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace


def deployment_of(root: Path) -> Deployment:
    return read_record(Deployment, Workspace(root).deployment_path("local"), "mosdeploy deploy")


def test_a_bundle_was_tested_and_timed_on_the_device(walked: Path) -> None:
    deployment = deployment_of(walked)
    assert deployment.self_test_passed
    assert deployment.measurement.total is not None
    assert set(deployment.measurement.parts) == {"encoder", "decoder"}
    assert deployment.limit_ms == 10_000.0
    assert Path(deployment.remote_dir).is_relative_to(walked / "device")
    assert Path(deployment.remote_dir, "bundle", "model.onnx").is_file()


def test_a_rollback_brings_the_device_and_its_record_back(folder: Path) -> None:
    run = opened(folder)
    first = run.deploy()
    path = run.export(precision="int8").path
    assert run.deploy(bundle=path).bundle.endswith("int8-beam1")
    assert run.deploy(rollback=True) == first
    assert deployment_of(folder) == first


def test_a_rollback_has_to_know_the_device(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    deployments = folder / "deployments"
    shutil.copy(deployments / "local.json", deployments / "rpi@pi2.json")
    run = opened(folder)
    with pytest.raises(
        ConfigError, match=r"several devices were deployed to \(local, rpi --host pi2\)"
    ):
        run.deploy(rollback=True)
    shutil.rmtree(deployments)
    with pytest.raises(StaleInputError, match="nothing was deployed from this folder"):
        run.deploy(rollback=True)


def test_what_is_deployed_is_verified_against_its_limit(folder: Path) -> None:
    run = opened(folder)
    first = run.deploy()
    kept = run.verify()
    assert kept.deployment == first
    assert kept.limit_ms == 10_000.0
    assert kept.kept
    assert kept.measurement.total is not None
    assert set(kept.measurement.parts) == {"encoder", "decoder"}
    assert not run.verify("1us").kept
    path = run.export("smallest").path  # not the one that was searched for: it has no limit
    run.deploy(bundle=path)
    with pytest.raises(ConfigError, match="deployed without a limit; give one with --max-latency"):
        run.verify()
    assert run.verify("10s").deployment.bundle == path.name
    record = Workspace(folder).deployment_path("local")
    record.write_text(first.model_dump_json())  # as if another folder had deployed since
    with pytest.raises(StaleInputError, match=f"local runs {path.name} now, not {first.bundle}"):
        run.verify("10s")


def test_a_rollback_takes_no_bundle(walked: Path) -> None:
    options = DeployOptions(bundle=walked / "bundles")
    with pytest.raises(ConfigError, match="it takes no --bundle"):
        roll_back(Context(open_run(walked)), options)


def test_a_corrupt_bundle_is_one_error_for_whoever_reads_it(folder: Path) -> None:
    damage(require_bundle(Workspace(folder)) / "model.onnx")
    run = opened(folder)
    for verb in (run.deploy, lambda: run.predict(["one"]), run.report):
        with pytest.raises(BundleError, match=r"model\.onnx") as caught:
            verb()
        assert caught.value.exit_code == 8


def test_without_a_bundle_export_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "bundles")
    run = opened(folder)
    for verb in (run.deploy, lambda: run.predict(["one"])):
        with pytest.raises(StaleInputError, match="run `mosdeploy export` first"):
            verb()
