"""Faults on the way to a device, with a real OpenSSH server on loopback: nothing lost, nothing
measured twice.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from openssh import SSHD, OpenSSHServer
from stalling_proxy import StallingProxy
from tiny_onnx import tiny_model
from watching import QUICK, STAGES, agent_pid, is_alive, result_lines, wait_for

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.devices import connect, measure
from mosdeploy.devices.connect import LastingSession, open_session
from mosdeploy.devices.device import Device
from mosdeploy.devices.measure import MeasureHooks, MeasurementTask, collect
from mosdeploy.devices.probe import check, probe
from mosdeploy.errors import AuthError, CommandError, ConnectError, DeviceTimeoutError

KEYS = ["a", "b"]
WEIGHTS_BYTES = 4096

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here"),
]


@pytest.fixture
def profile(make_profile):
    return make_profile("ssh")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(connect, "RECONNECT_WAITS_S", (0.1, 0.5, 2.0))


def build(key):
    return tiny_model(weights_bytes=WEIGHTS_BYTES)


def run(server, profile, keys=KEYS, job_id="job", notify=lambda message: None, build=build):
    opener = partial(open_session, profile, server.files.config)
    with LastingSession(opener, notify) as session:
        task = MeasurementTask(job_id, STAGES, threads=1, build=build, weights_bytes=WEIGHTS_BYTES)
        yield from collect(Device(session, profile), task, keys, MeasureHooks(notify))


def assert_each_key_once(profile, found, keys=KEYS):
    assert sorted(found) == keys
    assert all(measurement.error is None for measurement in found.values())
    assert sorted(line["key"] for line in result_lines(profile)) == keys


def test_the_link_works_with_a_talkative_shell(server, profile):
    (server.home / ".bashrc").write_text("echo welcome; echo careful >&2\n")
    with open_session(profile, server.files.config) as session:
        assert session.run("echo hello").stdout == "hello\n"
        assert session.home() == str(server.home)
        assert session.run("sh -c 'kill -9 $$'").returncode == 128 + signal.SIGKILL
        data = os.urandom(2_000_000)
        source, target = server.folder / "source", server.folder / "target"
        source.write_bytes(data)
        session.put(source, str(target))
        assert target.read_bytes() == data
        state = probe(Device(session, profile))
    assert not [problem for problem in check(state, profile) if problem.blocking]


def test_a_jump_host_leads_to_the_device(server, profile):
    server.write_files(extra="  ProxyJump gate\nHost gate\n")
    text = server.files.config.read_text()
    gate = (
        text.split("Host gate")[0]
        .replace("Host dev", "Host gate")
        .replace("  ProxyJump gate\n", "")
    )
    server.files.config.write_text(text.replace("Host gate\n", gate))
    with open_session(profile, server.files.config) as session:
        assert session.run("echo $SSH_CONNECTION").stdout.startswith("127.0.0.1")
        assert len(session._clients) == 2
    server.files.config.write_text(
        server.files.config.read_text().replace("HostName 127.0.0.1", "HostName nowhere.invalid", 1)
    )
    with pytest.raises(ConnectError, match=r"the jump host cannot reach nowhere\.invalid"):
        open_session(profile, server.files.config)


def test_a_ban_after_failed_logins_is_explained(tmp_path, client_files, profile):
    made = OpenSSHServer(tmp_path / "banning", client_files)
    with contextlib.closing(made):
        made.start("PerSourcePenalties authfail:60s min:1s")
        (made.folder / "authorized").write_text("")
        errors = [""]
        while "bans this address" not in errors[-1] and len(errors) < 50:
            with pytest.raises((AuthError, ConnectError)) as caught:
                open_session(profile, client_files.config)
            errors.append(str(caught.value))
            time.sleep(0.1)  # the server counts a failure when that connection's process has ended
        assert "bans this address" in errors[-1]


def test_a_killed_connection_costs_nothing(server, profile):
    said = []
    collecting = run(server, profile, notify=said.append)
    found = dict([next(collecting)])
    pid = agent_pid(profile)
    server.kill_connections()
    found.update(collecting)
    assert_each_key_once(profile, found)
    assert agent_pid(profile) == pid
    assert any("reconnecting" in message for message in said)


def test_a_stalled_connection_costs_nothing(server, make_profile):
    profile = make_profile("ssh", command_timeout_s=1.0)
    with contextlib.closing(StallingProxy(server.port)) as proxy:
        server.write_files(port=proxy.port)
        collecting = run(
            server, profile, notify=lambda message: proxy.flowing.set()
        )  # told of the stall: it ends
        found = dict([next(collecting)])
        proxy.flowing.clear()
        found.update(collecting)
    assert_each_key_once(profile, found)


@pytest.mark.parametrize("num_bytes", [6_000, 12_000, 20_000])
def test_a_cut_after_so_many_bytes_costs_nothing(server, profile, num_bytes):
    said = []
    with contextlib.closing(StallingProxy(server.port)) as proxy:
        server.write_files(port=proxy.port)
        collecting = run(server, profile, notify=said.append)
        proxy.num_left = num_bytes  # in the middle of the agent, of a model, or of the looking on
        assert_each_key_once(profile, dict(collecting))
    assert any("reconnecting" in message for message in said)


def test_a_killed_host_loses_nothing_and_repeats_nothing(server, profile, tmp_path):
    script = tmp_path / "host.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from mosdeploy.config.device import DeviceProfile\nimport test_sshd\n"
        "class Files:\n    config = Path(sys.argv[2])\n"
        "class Server:\n    files = Files\n"
        "profile = DeviceProfile.model_validate_json(sys.argv[1])\n"
        "for key, _ in test_sshd.run(Server, profile):\n    print(key, flush=True)\n"
    )
    command = [sys.executable, str(script), profile.model_dump_json(), str(server.files.config)]
    here = Path(__file__).parent
    paths = f"{here}:{here.parent / 'helpers'}:{here.parents[1]}"
    host = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    with host:
        assert host.stdout.readline().strip() in KEYS
        host.kill()
    pid = agent_pid(profile)
    assert_each_key_once(profile, dict(run(server, profile)))
    assert agent_pid(profile) == pid
    again = dict(run(server, profile))
    assert_each_key_once(profile, again)
    assert agent_pid(profile) == pid


def test_a_killed_agent_is_started_again_and_repeats_nothing(server, profile):
    collecting = run(server, profile)
    found = dict([next(collecting)])
    os.killpg(agent_pid(profile), signal.SIGKILL)
    with (Path(profile.work_dir) / "jobs" / "job" / "results.jsonl").open("a") as file:
        file.write('{"key": "torn')  # what a kill in the middle of a write leaves
    found.update(collecting)
    assert_each_key_once(profile, found)


def test_an_agent_that_stalls_is_ended(server, make_profile, monkeypatch):
    monkeypatch.setattr(measure, "OUTPUT_MARGIN_S", 0.5)
    protocol = MeasureProtocol(**{**QUICK, "max_time_s": 1.0}, candidate_timeout_s=2.5)
    profile = make_profile("ssh", measure=protocol)
    collecting = run(server, profile)
    next(collecting)
    pid = agent_pid(profile)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DeviceTimeoutError, match=r"nothing for 3 s.*run the same command again"):
        list(collecting)
    wait_for(lambda: not is_alive(pid))


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount here")
    yield folder
    for _ in range(100):
        if (
            subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode
            == 0
        ):
            return
        time.sleep(0.1)


def test_a_full_disk_on_the_device_is_named(server, make_profile, small_disk, tmp_path):
    profile = make_profile("ssh", work_dir=str(small_disk / "work"))
    source = tmp_path / "large"
    source.write_bytes(os.urandom(3_000_000))
    with open_session(profile, server.files.config) as session:
        with pytest.raises(CommandError, match=r"disk full: .*small needs 2\.9 MiB"):
            session.put(source, str(small_disk / "large"))
        assert list(small_disk.iterdir()) == []
        with pytest.raises(CommandError, match="disk full"):
            session.put_bytes(source.read_bytes(), str(small_disk / "large"))
    with pytest.raises(CommandError, match=r"stopped: disk full: .*uniform-4096"):
        list(run(server, profile))
