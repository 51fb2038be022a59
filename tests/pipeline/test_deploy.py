"""Bundles on a device: tested and timed there, rolled back, recorded."""

import shutil
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
from walking import KeptProgress, damage, deployment_of, edit, opened

from mosdeploy.devices.deploy import DeploymentSlot
from mosdeploy.errors import (
    BundleError,
    ConfigError,
    ConnectionLostError,
    PredictorError,
    StaleInputError,
)
from mosdeploy.pipeline import deploy
from mosdeploy.run_folder.bundles import deployed_to, require_bundle
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.workspace import Workspace


def test_a_bundle_was_tested_and_timed_on_the_device(walked: Path) -> None:
    deployment = deployment_of(walked)
    assert deployment.self_test_passed
    assert deployment.measurement.total is not None
    assert set(deployment.measurement.parts) == {"encoder", "decoder"}
    assert deployment.limit_ms == 10_000.0
    assert Path(deployment.remote_dir).is_relative_to(walked / "device")
    assert Path(deployment.remote_dir, "bundle", "model.onnx").is_file()


@pytest.mark.slow
def test_a_rollback_brings_the_device_and_its_record_back(folder: Path) -> None:
    run = opened(folder)
    first = run.deploy()
    path = run.export(precision="int8").path
    assert run.deploy(bundle=path).bundle.endswith("int8-beam1")
    # whatever the record here holds
    (folder / "deployments" / "local.json").write_text('{"version": 99}')
    assert run.deploy(rollback=True) == first
    assert deployment_of(folder) == first


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", ["switch", "record", "removal"])
def test_a_killed_rollback_goes_back_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    run = opened(folder)
    names = [run.deploy().bundle]
    for pick in ("largest", "smallest"):
        run.export(pick)
        names.append(run.deploy(strict=False).bundle)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        if killed_at == "switch":
            patched.setattr(DeploymentSlot, "roll_back", killed)
        elif killed_at == "record":
            real = deploy.write_record
            fails = {".json": killed, ".rollback": real}
            patched.setattr(deploy, "write_record", lambda p, x: fails[p.suffix](p, x))
        else:
            unlink = Path.unlink
            patched.setattr(
                Path,
                "unlink",
                lambda p, **how: killed() if p.suffix == ".rollback" else unlink(p, **how),
            )
        run.deploy(rollback=True)
    again = run.deploy(rollback=True)
    assert again.bundle == names[1]
    assert len(again.rolled_back_from) == 1
    assert deployment_of(folder) == again
    assert run.deploy(rollback=True).bundle == names[0]


@pytest.mark.slow
def test_what_is_deployed_after_a_killed_rollback_is_gone_back_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(folder)
    first = run.deploy()
    largest = run.export("largest").path
    run.deploy(strict=False)
    with monkeypatch.context() as patched, pytest.raises(ConnectionLostError):
        patched.setattr(DeploymentSlot, "roll_back", Mock(side_effect=ConnectionLostError("gone")))
        run.deploy(rollback=True)
    run.deploy(bundle=first.bundle)
    assert run.deploy(rollback=True).bundle == largest.name


@pytest.mark.slow
def test_the_command_takes_the_provider_that_was_timed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    run.deploy()
    said = "to run it on local as it was timed: "
    assert not any(message.startswith(said) for message in progress.messages)
    profile = folder / "device_profiles" / "local.toml"
    # every ONNX Runtime has it, and leaves to the CPU what it cannot do
    edit(profile, 'kind = "local"\n', 'kind = "local"\nprovider = "AzureExecutionProvider"\n')
    run.deploy(bundle=run.export(precision="int8").path)
    (command,) = (x.removeprefix(said) for x in progress.messages if x.startswith(said))
    assert "-m mosdeploy_runtime bundle --provider AzureExecutionProvider" in command
    done = subprocess.run(command, shell=True, input="one two", capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def test_a_rollback_has_to_know_the_device(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", 'device = "local"\n', "")
    deployments = folder / "deployments"
    shutil.copy(deployments / "local.json", deployments / "rpi@pi2.json")
    run = opened(folder)
    with pytest.raises(ConfigError, match=r"several devices were deployed to \(local, rpi@pi2\)"):
        run.deploy(rollback=True)
    shutil.rmtree(deployments)
    with pytest.raises(StaleInputError, match="nothing was deployed from this folder"):
        run.deploy(rollback=True)


def test_the_host_of_a_profile_names_the_same_board(folder: Path) -> None:
    profile = 'name = "rpi"\nhost = "pi1"\n'
    (folder / "device_profiles" / "rpi.toml").write_text(profile)
    deployments = folder / "deployments"
    context = Context(open_run(folder))

    def meant(host: str | None, device: str | None = "rpi") -> tuple[str, str | None]:
        return deployed_to(context, f"{device}@{host}" if host else device)

    assert (meant("pi1"), meant("pi2")) == (("rpi", None), ("rpi", "pi2"))
    shutil.copy(deployments / "local.json", deployments / "rpi@pi2.json")
    assert (meant("pi1"), meant("pi2")) == (("rpi", None), ("rpi", "pi2"))
    shutil.copy(deployments / "local.json", deployments / "rpi.json")
    assert (meant("pi1"), meant(None), meant("pi2")) == (
        ("rpi", None),
        ("rpi", None),
        ("rpi", "pi2"),
    )


@pytest.mark.slow
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
    profile = (folder / "device_profiles" / "local.toml").read_text()
    mine = profile.replace('name = "local"', 'name = "mine"')
    (folder / "device_profiles" / "mine.toml").write_text(mine)
    with pytest.raises(StaleInputError, match="run `mosdeploy deploy --device mine` first"):
        run.verify(device="mine")
    # of a folder that cannot be written there is no lock
    lock = Workspace(folder).deployment_path("local").with_name(".local.json.lock")
    lock.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.access", lambda *_: False)
        assert run.verify().kept
    assert not lock.exists()
    path = run.export(pick="largest").path  # not what was searched for: it has no limit
    run.deploy(bundle=path)
    with pytest.raises(ConfigError, match="deployed without a limit; give one with --max-latency"):
        run.verify()
    assert run.verify("10s").deployment.bundle == path.name
    local = folder / "device_profiles" / "local.toml"
    edit(local, 'kind = "local"', 'kind = "local"\nemulated = true')
    with pytest.raises(PredictorError, match="mean nothing, and no limit can be verified"):
        run.verify("10s")
    edit(local, "\nemulated = true", "")
    record = Workspace(folder).deployment_path("local")
    record.write_text(first.model_dump_json())  # as if another folder had deployed since
    with pytest.raises(StaleInputError, match=f"local runs {path.name} now, not {first.bundle}"):
        run.verify("10s")


@pytest.mark.slow
def test_a_limit_on_the_tail_is_deployed_and_verified_with_enough_repeats(folder: Path) -> None:
    run = opened(folder)
    run.search("10s", statistic="p90", verify=False)
    run.export()
    deployment = run.deploy()
    assert (deployment.statistic, deployment.limit_ms) == ("p90", 10_000.0)
    for taken in (deployment.measurement, run.verify().measurement):
        assert taken.total is not None and taken.total.repeats >= 50


def test_a_corrupt_bundle_is_one_error_for_whoever_reads_it(folder: Path) -> None:
    damage(require_bundle(Workspace(folder)) / "model.onnx")
    run = opened(folder)
    for verb in (run.deploy, lambda: run.predict(["one"]), run.report):
        with pytest.raises(BundleError, match=r"model\.onnx") as caught:
            verb()
        assert caught.value.exit_code == 8


def test_a_bundle_of_another_family_is_refused(walked: Path, encoder_folder: Path) -> None:
    other = require_bundle(Workspace(walked))
    told = "is a bundle of 'translation', this is a run folder of 'encoder'"
    with pytest.raises(ConfigError, match=told):
        opened(encoder_folder).deploy(bundle=other)
