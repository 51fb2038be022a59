"""Whatever a device says: it is used or ends in an error of that device, and steers no terminal."""

import copy
import json
from dataclasses import dataclass, field

import pytest
from deploying import SLOT, write_request
from fuzzing import change, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st
from watching import STAGES

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.devices import session as interface
from mosdeploy.devices.connect import LocalSession, open_session
from mosdeploy.devices.deploy import roll_back, self_test, time_current
from mosdeploy.devices.device import Device, archive
from mosdeploy.devices.drift import DriftWatch
from mosdeploy.devices.job import AgentJob, refuse_if_busy
from mosdeploy.devices.probe import check, probe
from mosdeploy.devices.session import CommandResult, last_lines
from mosdeploy.devices.setup import clean
from mosdeploy.errors import CommandError, MosdeployError
from mosdeploy.printable import printable
from mosdeploy.records import Deployment, DeviceState, Measurement, Timing

ODD = (b"", b"\n", b"{", b"null", b"[]", b'"x"', b"7", b'{"rc": NaN}', b'{"error": "\x1b[2J\xff"}')
LONG = (b"[" * 100_000, b"9" * 5000, b'{"pid": 1' + b"0" * 400 + b"}", b'{"error": "\\u001b[2J"}')
RAW = st.binary(max_size=40) | st.sampled_from([*ODD, *LONG])
TIMING = {
    "median_ms": 2.0,
    "p90_ms": 2.5,
    "p99_ms": 2.5,
    "minimum_ms": 1.9,
    "repeats": 15,
    "cpu_ms": 1.0,
}
RESULT = {
    "key": "reference",
    "measured_at": "2026-01-01T00:00:00.000+00:00",
    "measurement": {"total": TIMING, "parts": {"first": TIMING}, "load_ms": 1.0},
}
STATE = DeviceState(
    machine="aarch64",
    cores=4,
    memory_bytes=10**9,
    disk_free_bytes=10**10,
    frequencies_mhz=(1500.0,),
    temperature_c=50.0,
    load_1min=0.1,
    swap_used_bytes=1,
    python_version="3.11.2",
    packages={"numpy": "2.0"},
    providers=("CPUExecutionProvider",),
)
VERSION = f"{'0' * 16}-{'0' * 8}"


@dataclass
class HostileSession:
    """A device that answers every command, and holds in every file, what it likes; the scripts are
    there, and an agent may run.
    """

    answer: bytes
    name: str = "dev"
    is_running: bool = False
    checked_dirs: set[str] = field(default_factory=set)

    def run(self, command, timeout_s=None):
        return CommandResult(self.answer.decode(errors="replace"), "\x1b[31m[/x]", 0)

    def read(self, remote_path, offset=0):
        if remote_path.endswith(".pyz"):
            return archive()
        if self.is_running and remote_path.endswith("/pid"):
            return b"7"
        if self.is_running and remote_path.endswith("/cmdline"):
            return b"/device/jobs/job\0"
        return self.answer[offset:]

    def put_bytes(self, data, remote_path):
        pass

    def home(self):
        return "/home/user"


def used(call, *arguments):
    """What a call gives; None if it ends in an error of ours, whose message is safe to print."""
    with only(MosdeployError):
        try:
            return call(*arguments)
        except MosdeployError as error:
            message = str(error)
            assert message == printable(message)
            assert len(message) < 10_000
            raise
    return None


def job(session, profile):
    return AgentJob(Device(session, profile), "job")


CALLS = {
    "state": (STATE.model_dump(mode="json"), lambda d: check(probe(d), d.profile)),
    "busy": ({"busy": {"pid": 7, "job": "x", "since": "noon"}}, refuse_if_busy),
    "started": ({"pid": 7}, lambda d: AgentJob(d, "job").start({}, {}, STAGES, threads=1)),
    "results": (RESULT, lambda d: AgentJob(d, "job").results()),
    "outdated": (RESULT, lambda d: AgentJob(d, "job").remove_results(1.0)),
    "clock": ({"now_s": 1}, lambda d: AgentJob(d, "job").remove_results(1.0)),
    "end": ({"rc": 1, "error": "no numpy"}, lambda d: AgentJob(d, "job").failure()),
    "pid": ({"pid": 1}, lambda d: AgentJob(d, "job").kill()),
    "claimed": ({"target_counts": {"a": 1}}, lambda d: AgentJob(d, "job").claimed_keys()),
    "log": ({}, lambda d: AgentJob(d, "job").log_tail()),
    "versions": ({"current": VERSION, "previous": VERSION}, SLOT.current_and_previous),
    "missing": ({"missing": ["a"]}, lambda d: SLOT.missing(d, VERSION)),
    "owner": ({"owner": "pc:/x", "error": "x"}, lambda d: SLOT.claim(d, VERSION)),
    "self-test": (
        {"passed": False, "failures": ["example 1"]},
        lambda d: self_test(d, "/device/x", "onnxruntime"),
    ),
    "python": ({}, lambda d: d.python_path()),
    "leftovers": (
        {"leftovers": [{"path": "jobs/one", "what": "job", "size_bytes": 7}]},
        lambda d: clean(d, remove=True),
    ),
}


def test_no_more_packages_are_taken_than_were_asked_for(make_profile):
    names = ["numpy", *(f"package-{i}" for i in range(300_000))]
    for packages in (dict.fromkeys(names, "1.0"), dict.fromkeys(names[:1000], "1.0")):
        answer = json.dumps({"packages": packages}).encode()
        device = Device(HostileSession(answer), make_profile(work_dir="/device"))
        state = used(probe, device)
        assert state is None or state.packages == {"numpy": "1.0"}


def test_an_answer_with_a_key_twice_is_refused(make_profile):
    profile = make_profile(work_dir="/device")
    answer = b'{"rc": 0, "error": "no numpy", "rc": 1}'
    with pytest.raises(CommandError, match="the key 'rc' is there twice"):
        job(HostileSession(answer), profile).failure()


@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize("name", CALLS)
@fuzzed(40)
@given(data=st.data())
def test_any_answer_is_used_or_refused(make_profile, name, is_json, data):
    profile = make_profile(work_dir="/device")
    valid, call = CALLS[name]
    answer = data.draw(RAW)
    if is_json:
        content = {"content": copy.deepcopy(valid)}
        for _ in range(data.draw(st.integers(0, 2))):
            if content:
                change(content, data)
        answer = json.dumps(content.get("content")).encode() + b"\n"
    is_running = name == "claimed" and data.draw(st.booleans())
    used(call, Device(HostileSession(answer, is_running=is_running), profile))


@fuzzed(40)
@given(data=st.data())
def test_any_results_are_weighed_or_refused(make_profile, data):
    keys = ("reference", "a", "reference", "b", "reference")
    lines = [{**copy.deepcopy(RESULT), "key": key} for key in keys]
    for _ in range(data.draw(st.integers(1, 3))):
        if line := data.draw(st.sampled_from(lines)):
            change(line, data)
    answer = "".join(json.dumps(line) + "\n" for line in lines).encode()
    watch = DriftWatch(["a", "b"], MeasureProtocol(rounds=1))
    profile = make_profile(work_dir="/device")
    for result in used(job(HostileSession(answer), profile).results) or ():
        for _, measurement in watch.add(result):
            text = measurement.model_dump_json()
            assert text == printable(text)
            assert Measurement.model_validate_json(text) == measurement


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """What a device holds that was deployed to, as JSON: a record and a manifest."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "runtime").mkdir()
    release = write_request(folder / "bundle", folder / "runtime")
    timing = Timing.model_validate_json(json.dumps(TIMING))
    record = {
        "version": 1,
        "device": {"name": "dev"},
        "state": {},
        "bundle": "bundle",
        "bundle_sha256": "0",
        "remote_dir": "/device",
        "self_test_passed": True,
        "measurement": json.loads(Measurement(total=timing).model_dump_json()),
        "limit_ms": None,
        "deployed_at": "",
    }
    return record, json.loads(release.manifest.model_dump_json())


@pytest.mark.parametrize("verb", ["rollback", "verify"])
@fuzzed(40)
@given(data=st.data())
def test_any_version_is_rolled_back_to_or_refused(make_profile, deployment, verb, data):
    record, manifest = copy.deepcopy(deployment)
    answer = {"current": VERSION, "previous": VERSION, "missing": [], "passed": True}
    content = {"record": record, "manifest": manifest}
    for _ in range(data.draw(st.integers(0, 2))):
        if content:
            change(content, data)

    class Session(HostileSession):
        def run(self, command, timeout_s=None):
            kinds = {"previous": ("current", "previous"), "deduplicate": ("missing",)}
            called = (names for name, names in kinds.items() if f" {name} " in command)
            names = next(called, ())
            found = {name: answer[name] for name in names}
            if "--self-test" in command:
                found = {"passed": True, "failures": []}
            return CommandResult(json.dumps(found), "", 0)

        def read(self, remote_path, offset=0):
            for name, part in (("deployment.json", "record"), ("manifest.json", "manifest")):
                if remote_path.endswith(name):
                    return json.dumps(content.get(part)).encode()
            return super().read(remote_path, offset)

    session, profile = Session(b""), make_profile(work_dir="/device")
    if verb == "rollback":
        used(roll_back, Device(session, profile), SLOT)
    else:
        expected = Deployment.model_validate_json(json.dumps(deployment[0]))
        used(time_current, Device(session, profile), SLOT, expected, lambda manifest: ())


@pytest.mark.parametrize(
    ("timing", "reason"),
    [
        ({**TIMING, "minimum_ms": 0.0}, "longer than 0 ms"),
        ({**TIMING, "median_ms": 1e300, "p90_ms": 1e300}, "no timing has the figures"),
        ({**TIMING, "p99_ms": -1.0}, "no timing has the figures .*-1"),
        ({**TIMING, "p90_ms": TIMING["median_ms"] / 2}, "no timing has the figures"),
        ({**TIMING, "repeats": 0}, "no timing has the figures"),
        ({**TIMING, "cpu_ms": -1.0}, "no timing has the figures"),
        (None, "neither a time nor an error"),
    ],
)
def test_a_time_that_cannot_be_is_refused(make_profile, timing, reason):
    line = json.dumps({"key": "a", "measurement": {"total": timing}}).encode() + b"\n"
    with pytest.raises(CommandError, match=f"no valid answer: .*{reason}"):
        job(HostileSession(line), make_profile(work_dir="/device")).results()


def test_a_part_may_be_nothing_and_memory_not_less(make_profile):
    nothing = {**TIMING, "minimum_ms": 0.0, "median_ms": 0.0}
    # of an older numpy
    rounded = {**TIMING, "p99_ms": TIMING["p90_ms"] * (1 - 1e-15)}
    measurement = {"total": rounded, "parts": {"rest": nothing}, "memory_bytes": 0}
    profile = make_profile(work_dir="/device")

    def results(measured):
        line = json.dumps({"key": "a", "measurement": measured}).encode() + b"\n"
        return job(HostileSession(line), profile).results()

    (found,) = results(measurement)
    assert found.measurement.parts
    for name in ("memory_bytes", "peak_memory_bytes"):
        with pytest.raises(CommandError, match="no memory is less than none"):
            results({**measurement, name: -(10**12)})


def test_no_file_is_read_without_end(session, tmp_path, monkeypatch):
    monkeypatch.setattr(interface, "MAX_READ_BYTES", 1 << 20)
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 20)
        assert len(session.read(str(path))) == 1 << 20
        file.truncate((1 << 20) + 1)
    with pytest.raises(CommandError, match=r"large is longer than 1\.0 MiB"):
        session.read(str(path))
    content = bytes((1 << 20) + 1)
    session.put_bytes(content, str(tmp_path / "sent"))  # what is sent may be as long as it is
    assert (tmp_path / "sent").read_bytes() == content


def test_no_output_is_read_without_end(make_profile, double, client_files, monkeypatch):
    monkeypatch.setattr(interface, "MAX_READ_BYTES", 1 << 20)
    with open_session(make_profile("ssh"), client_files.config) as session:
        with pytest.raises(CommandError, match="the output of `echo begun; yes` is longer than"):
            session.run("echo begun; yes")
        assert session.run("echo 1").stdout == "1\n"


def test_a_message_holds_no_control_characters():
    with LocalSession("dev") as session:
        result = session.run("printf '\\033[2J[/x]' >&2; exit 3")
    assert result.stderr.startswith("\x1b")
    assert last_lines(result) == "?[2J[/x]"
