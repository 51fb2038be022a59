"""A bundle becomes current only when it works on the device, and the one before is kept."""

import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from deploying import SLOT, CountingSession, live, taking, write_request
from watching import other_agent

from mosdeploy.config.sections import DeployConfig
from mosdeploy.devices import deploy as module
from mosdeploy.devices import deploy as room
from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.deploy import (
    DeploymentSlot,
    LatencyLimit,
    deploy,
    missed_limits,
    roll_back,
    self_test,
    time_current,
)
from mosdeploy.devices.device import Device
from mosdeploy.devices.on_device.slots import deduplicate, history, switch
from mosdeploy.devices.setup import clean
from mosdeploy.errors import (
    BundleError,
    CommandError,
    DeviceBusyError,
    InfeasibleError,
    StaleInputError,
)
from mosdeploy.records import Measurement
from mosdeploy.storage import sha256_bytes, sha256_file


class Killed(BaseException):
    """The host's process is gone."""


def test_a_bundle_is_stored_tested_timed_and_made_current(
    make_profile, tmp_path, runtime_dir, bundles
):
    session = CountingSession()
    release = write_request(tmp_path / "bundles" / "one", runtime_dir)
    folder = release.bundle_dir
    deployment = deploy(
        Device(session, make_profile()),
        SLOT,
        replace(release, limit=LatencyLimit(150.0)),
        DeployConfig(),
    )
    assert deployment.bundle_sha256 == sha256_file(folder / "manifest.json")
    assert deployment.self_test_passed
    assert deployment.limit_ms == 150.0
    assert deployment.measurement.total.median_ms > 0
    assert deployment.state.packages["onnxruntime"]
    assert (bundles / "current").resolve() == Path(deployment.remote_dir)
    assert live(bundles) == "one"
    assert (bundles / "current" / "bundle" / "model.onnx").read_bytes() == (
        folder / "model.onnx"
    ).read_bytes()
    assert sorted(session.uploads) == [
        "__init__.py",
        "__main__.py",
        "manifest.json",
        "model.onnx",
        "tokenizer.model",
    ]
    check = LocalSession().run(f"cd {deployment.remote_dir} && sha256sum -c SHA256SUMS")
    assert check.returncode == 0, check.stdout


@pytest.mark.slow
def test_only_what_no_version_holds_undamaged_is_sent(device, put, bundles):
    session = CountingSession()
    first = put("one")
    put("two", session=session, width=9)
    assert sorted(session.uploads) == ["manifest.json", "model.onnx"]
    for version in bundles.glob("*-*"):
        (version / "bundle" / "tokenizer.model").write_text("damaged on the device")
    session.uploads.clear()
    put("three", session=session, width=9)
    assert sorted(session.uploads) == ["manifest.json", "tokenizer.model"]
    session.uploads.clear()
    put("one", session=session)  # mended with what the others hold
    assert session.uploads == []
    assert (bundles / "current").resolve() == Path(first.remote_dir)
    assert live(bundles) == "one"


def test_a_failed_self_test_leaves_the_old_version_current(put, bundles, runtime_dir):
    put("one")
    with pytest.raises(CommandError, match=r"self-test failed .*example 1: got \[5\]"):
        put("bad", tokenizer="bad")
    (runtime_dir / "__main__.py").write_text("import sentencepiece_is_missing")
    with pytest.raises(CommandError, match=r"did not run: .*No module .*--setup"):
        put("two")
    assert live(bundles) == "one"


class DyingSession(LocalSession):
    """Is gone at the n-th call that changes the device, half-way through a file."""

    def __init__(self, calls_left):
        super().__init__("dev")
        self.calls_left = calls_left

    def count(self):
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Killed

    def run(self, command, timeout_s=None):
        self.count()
        return super().run(command, timeout_s)

    def put_bytes(self, data, remote_path):
        self.count()
        super().put_bytes(data, remote_path)

    def put(self, local_path, remote_path):
        try:
            self.count()
        except Killed:
            part = Path(f"{remote_path}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(local_path.read_bytes()[:10])
            raise
        super().put(local_path, remote_path)


@pytest.mark.slow
def test_a_host_killed_at_any_step_leaves_a_live_version(put, bundles, device):
    first = put("one")
    for calls in itertools.count():
        for path in bundles.glob("*-*"):
            if (
                path != Path(first.remote_dir) and calls % 2
            ):  # every other time it goes on where it was killed
                shutil.rmtree(path)
        try:
            put("two", session=DyingSession(calls), width=9)
        except Killed:
            assert live(bundles) == "one"
        else:
            break
    assert calls > 5
    assert live(bundles) == "two"
    assert roll_back(device, SLOT) == first


@pytest.mark.slow
@pytest.mark.parametrize("step", ["history", "switch", "remove"])
def test_a_device_killed_while_it_switches_stays_live(step, put, bundles, tmp_path, device):
    first, second = put("one"), put("two", width=9)
    assert roll_back(device, SLOT) == first
    patch = {  # the process ends just before
        "history": "slots.replace = lambda *_: os._exit(9)",
        "switch": "slots.switch = lambda *_: os._exit(9)",
        "remove": "shutil.rmtree = lambda *_, **__: os._exit(9)",
    }[step]
    script = f"import os, shutil\nfrom mosdeploy.devices.on_device import main, slots\n{patch}\n"
    version = Path(second.remote_dir).name
    left_over = bundles / "0123456789abcdef-01234567"
    left_over.mkdir()
    script += f"main('slots', 'activate', {str(bundles)!r}, {version!r}, '3', '{{}}')\n"
    assert LocalSession().run([sys.executable, "-c", script]).returncode == 9
    assert live(bundles) == ("two" if step == "remove" else "one")
    put("two")
    assert history(bundles) == [Path(first.remote_dir).name, version]
    assert not left_over.exists()


def test_a_bundle_that_is_exported_again_meanwhile_is_not_the_one_deployed(put):
    path = put.request("one").bundle_dir / "manifest.json"
    before = sha256_file(path)

    def exported():
        path.write_text(f"{path.read_text()}\n")
        yield taking(1.0)

    assert put("one", measured=exported()).bundle_sha256 == before != sha256_file(path)


def test_where_the_file_system_has_no_links_files_are_copied(put, bundles, tmp_path, monkeypatch):
    first = put("one")
    copy = bundles / "copy"
    copy.mkdir()
    shutil.copy(Path(first.remote_dir) / "SHA256SUMS", copy)
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    assert deduplicate(bundles, "copy") == {"missing": []}
    model = copy / "bundle" / "model.onnx"
    assert model.stat().st_nlink == 1
    assert model.read_bytes() == (Path(first.remote_dir) / "bundle" / "model.onnx").read_bytes()


def test_a_bundle_that_differs_from_its_manifest_is_not_sent(put):
    request = put.request("one")
    folder = request.bundle_dir

    def refused(sha256, match):
        manifest = request.manifest.model_copy(update={"sha256": sha256})
        with pytest.raises(BundleError, match=match):
            put("one", limits={"manifest": manifest})

    (folder.parent / "secret").write_text("x")
    (folder / "link").symlink_to("../secret")
    for name in ("../secret", "link", "two\nlines"):
        refused({name: sha256_bytes(b"x")}, "secret|link|two")
    (folder / "tokenizer.model").write_text("another")
    refused(request.manifest.sha256, r"tokenizer\.model is missing or not what")


@pytest.mark.parametrize(
    ("limits", "missed"),
    [
        ({"limit": LatencyLimit(1.0)}, None),
        ({"limit": LatencyLimit(0.9)}, r"takes 1 ms there \(median\), the limit is 0\.9 ms"),
        ({"limit": LatencyLimit(1.6, "p90")}, None),
        ({"limit": LatencyLimit(1.6, "p99")}, r"takes 3 ms there \(p99\), the limit is 1\.6 ms"),
        ({"max_memory_bytes": 30 << 20}, None),
        ({"max_memory_bytes": 29 << 20}, "takes 30 MiB of memory there, the limit is 29 MiB"),
    ],
)
def test_a_bundle_that_misses_a_limit_is_not_switched_to(put, bundles, limits, missed):
    put("one")
    measured = [taking(1.0, 30 << 20, p90_ms=1.5, p99_ms=3.0)] * 3
    words = {"tokenizer": "good two", "measured": measured, "limits": limits}
    if missed:
        with pytest.raises(InfeasibleError, match=missed) as raised:
            put("two", **words)
        assert raised.value.fastest_latency_ms in (1.0, 3.0)
        assert live(bundles) == "one"
        words["limits"] = {**limits, "strict": False}
    told = []
    made = put("two", **words, told=told)
    assert live(bundles) == "two"
    assert any("the limit is" in line for line in told) is bool(missed)
    if limit := limits.get("limit"):
        assert (made.statistic, made.limit_ms) == (limit.statistic, limit.ms)
        assert made.limit_kept is not bool(missed)


@pytest.mark.parametrize(
    ("times_ms", "settled_ms"), [((1.0,), 1.0), ((1.4, 0.9, 0.95), 0.95), ((1.4, 0.9, 1.2), None)]
)
def test_what_seems_too_slow_is_timed_twice_more(put, times_ms, settled_ms):
    told = []
    words = {"measured": map(taking, times_ms), "limits": {"limit": LatencyLimit(1.0)}}
    if settled_ms is None:
        with pytest.raises(InfeasibleError, match=r"takes 1\.2 ms there"):
            put("one", **words)
        return
    made = put("one", **words, told=told).measurement
    assert (made.total.median_ms, made.rounds) == (settled_ms, len(times_ms))
    assert any("twice more" in line for line in told) is (len(times_ms) > 1)


@pytest.mark.slow
def test_the_current_version_is_tested_and_timed_again(put, device, bundles):
    def now(deployment):
        return time_current(device, SLOT, deployment, lambda manifest: ())

    one = put("one")
    two = put("two", tokenizer="good two")
    before = {path: path.stat().st_mtime_ns for path in bundles.rglob("*")}
    assert now(two) == two.measurement
    with pytest.raises(StaleInputError, match="dev runs two now, not one"):
        now(one)
    assert {path: path.stat().st_mtime_ns for path in bundles.rglob("*")} == before
    model = bundles / "current" / "bundle" / "model.onnx"
    model.write_bytes(b"damaged")
    with pytest.raises(CommandError, match=r"is damaged \(bundle/model.onnx\)"):
        now(two)
    shutil.rmtree(bundles)
    with pytest.raises(CommandError, match="nothing is deployed to 'en-de' there"):
        now(two)
    elsewhere = two.remote_dir.replace("/en-de/", "/before/")
    with pytest.raises(CommandError, match="had another name"):
        now(two.model_copy(update={"remote_dir": elsewhere}))


def test_an_upload_that_a_full_disk_ends_is_listed_for_cleaning(put, bundles, device):
    class FullSession(LocalSession):
        def put(self, local_path, remote_path):
            if local_path.name == "model.onnx":
                raise CommandError("dev: No space left on device")
            super().put(local_path, remote_path)

    with pytest.raises(CommandError, match="No space left"):
        put("one", session=FullSession("dev"))
    version = next(bundles.glob("*-*"))
    listed = [x.path for x in clean(device)]
    assert f"bundles/{bundles.name}/{version.name}" in listed
    # and what was stored of it is not sent again
    session = CountingSession()
    stored = {path.name for path in version.rglob("*") if path.is_file()}
    put("one", session=session)
    assert stored and not stored & set(session.uploads)


def test_the_self_test_runs_on_the_provider_that_is_timed(make_profile, runtime_dir):
    (runtime_dir / "__main__.py").write_text(
        "import json, sys; print(json.dumps({'passed': False, 'failures': [str(sys.argv[2:])]}))"
    )
    path = str(runtime_dir.rename(runtime_dir.with_name("mosdeploy_runtime")).parent)
    for provider, runtime, options in (
        ("CUDAExecutionProvider", "onnxruntime", "--json', '--provider', 'CUDAExecutionProvider'"),
        ("CPUExecutionProvider", "onnxruntime", "--json'"),
        ("CUDAExecutionProvider", "tvm", "--json'"),
    ):
        with pytest.raises(CommandError, match=rf"unchanged: \['--self-test', '{options}\]"):
            self_test(Device(LocalSession("dev"), make_profile(provider=provider)), path, runtime)


def test_a_device_that_became_busy_during_the_upload_is_not_disturbed(
    device, put, monkeypatch, bundles
):
    put("one")
    before = (bundles / "current").readlink()
    looks = iter([False, True])

    def refuse(device, own_job=None):
        if next(looks):
            raise DeviceBusyError("another measurement runs")

    monkeypatch.setattr(module, "refuse_if_busy", refuse)
    monkeypatch.setattr(module, "free_device", refuse)
    monkeypatch.setattr(module, "self_test", lambda *_: pytest.fail("it disturbs what is measured"))
    with pytest.raises(DeviceBusyError):
        put("two", tokenizer="good two")
    assert (bundles / "current").readlink() == before


def test_a_rollback_to_a_broken_version_changes_nothing(put, bundles, device):
    first = put("one", tokenizer="good one")
    put("two")
    damaged = Path(first.remote_dir) / "bundle" / "tokenizer.model"
    damaged.write_text("cut off")
    with pytest.raises(CommandError, match=r"is damaged \(bundle/tokenizer\.model\)"):
        roll_back(device, SLOT)
    damaged.write_text("good one")
    # mended from the other version
    (Path(first.remote_dir) / "mosdeploy_runtime" / "__main__.py").unlink()
    assert roll_back(device, SLOT) == first
    assert live(bundles) == "one"


def rewrite(path, **changes):
    """What a newer mosdeploy might have written there."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_a_newer_mosdeploy_wrote_keeps_nobody_from_rolling_back(put, bundles, device, caplog):
    manifest = put.request("one").bundle_dir / "manifest.json"
    rewrite(manifest, version=3, energy={"joules": 3}, arch=None)
    first = put("one")
    second = put("two", width=9)
    record = Path(first.remote_dir) / "deployment.json"
    for newer in ({"energy": {"joules": 3}}, {"version": 2, "measurement": []}):
        rewrite(record, **newer)
        text = record.read_text()
        found = roll_back(device, SLOT)
        assert live(bundles) == "one"
        assert found.measurement == Measurement(error="its record could not be read")
        for same in ("device", "state", "bundle", "bundle_sha256", "remote_dir", "limit_ms"):
            assert getattr(found, same) == getattr(first, same)
        assert "update mosdeploy here" in caplog.text
        assert record.read_text() == text  # for the mosdeploy that wrote it
        switch(bundles, Path(second.remote_dir).name)
    rewrite(Path(first.remote_dir) / "bundle" / "manifest.json", runtime="wasm")
    with pytest.raises(CommandError, match=r"'runtime'.*update mosdeploy here, or .*--bundle"):
        roll_back(device, SLOT)
    assert live(bundles) == "two"


def test_what_an_emulated_device_takes_misses_no_limit(make_profile):
    profile = make_profile(emulated=True)
    assert not missed_limits(profile, taking(9.0, 2**30), LatencyLimit(1.0), 2**20)


@pytest.fixture
def during_look(device, monkeypatch):
    """Does something else when a deployment has been timed and is about to become current."""
    describe = room.describe

    def act(action):
        def first_act(device):
            monkeypatch.setattr(room, "describe", describe)
            action()
            return describe(device)

        monkeypatch.setattr(room, "describe", first_act)

    return act


@pytest.mark.slow
def test_two_deployments_at_once_leave_whole_versions(put, bundles, during_look, device):
    put("one")
    other = replace(SLOT, owner="pc:/other", is_shared=True)
    during_look(lambda: put("three", keep=1, slot=other, tokenizer="good three"))
    put("two", keep=2, tokenizer="good two")
    assert live(bundles) == "two"
    roll_back(device, SLOT)
    assert live(bundles) == "three"


def test_a_folder_of_the_same_name_takes_over_only_by_request(put, bundles, device):
    put("one")
    namesake = DeploymentSlot("en-de", owner="laptop:/en-de")
    match = r"'en-de' there belongs to pc:/en-de, this is laptop:/en-de; .* name = \"en-de\""
    for command in (
        lambda: put("two", slot=namesake),
        lambda: roll_back(device, namesake),
    ):
        with pytest.raises(StaleInputError, match=match):
            command()
    assert live(bundles) == "one"
    put("two", slot=replace(namesake, is_shared=True))
    assert live(bundles) == "two"


def test_a_folder_that_was_moved_goes_on(put, bundles, tmp_path):
    before, after = (
        DeploymentSlot("en-de", f"pc:{tmp_path / name}") for name in ("before", "after")
    )
    (tmp_path / "before").mkdir()
    put("one", slot=before)
    with pytest.raises(StaleInputError, match=r"belongs to pc:.*/before"):
        put("two", slot=after)
    (tmp_path / "before").rename(tmp_path / "after")
    put("two", slot=after)
    assert live(bundles) == "two"
    with pytest.raises(StaleInputError, match=r"belongs to pc:.*/after"):
        put("one", slot=replace(before, owner="laptop:/gone"))


class ReadingSession(CountingSession):
    """Tells what it is asked to run."""

    def __init__(self):
        super().__init__()
        self.commands = []

    def run(self, command, timeout_s=None):
        self.commands.append(str(command))
        return super().run(command, timeout_s)


def test_a_device_that_measures_is_left_alone(put, make_profile):
    put("one")
    deployment, profile = put("two", tokenizer="good two"), make_profile()
    with other_agent(profile.work_dir) as pid:
        for command in (
            lambda session: put("three", session=session, tokenizer="good three"),
            lambda session: roll_back(Device(session, profile), SLOT),
            lambda session: time_current(Device(session, profile), SLOT, deployment, lambda _: ()),
        ):
            session = ReadingSession()
            with pytest.raises(DeviceBusyError, match=f"pid {pid}, since noon"):
                command(session)
            assert "mkdir" in session.commands[0]  # whether the work folder is ours, by `ls`
            assert not [x for x in session.commands[1:] if "previous" not in x]
            assert session.uploads == []
