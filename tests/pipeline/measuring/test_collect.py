"""Measuring into a dataset: what is resumed and refused, and one profile on three boards at once,
which are real SSH servers on loopback, each with a home of its own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from openssh import SSHD, OpenSSHServer, SSHClientFiles
from walking import PROTOCOL, KeptProgress, make_run_folder, opened

import mosdeploy
from mosdeploy.config.device import DeviceProfile
from mosdeploy.devices import connect
from mosdeploy.errors import ConfigError, DeviceBusyError, DeviceError
from mosdeploy.latency.dataset import LatencyDataset, read_sessions
from mosdeploy.pipeline.measuring.collect import CollectRequest, CollectResult, collect
from mosdeploy.printable import milliseconds
from mosdeploy.records import SessionRecord
from mosdeploy.run_folder.context import Context, Progress, SilentProgress
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.summaries import ProfileSummary
from mosdeploy.storage import locked
from mosdeploy.workspace import Workspace

HOSTS = ("pi1", "pi2", "pi3")
needs_sshd = pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run folder that knows a kind of board, which works in the home of whoever logs in."""
    made = make_run_folder(tmp_path / "run")
    (made / "device_profiles" / "board.toml").write_text(
        f'name = "board"\npython = "{sys.executable}"\nwork_dir = "~/work"\n'
        "connect_timeout_s = 5.0\n" + PROTOCOL.replace("reference_every = 4", "reference_every = 2")
    )
    return made


class Fleet:
    """Three servers, and one ssh_config that leads to them."""

    def __init__(self, folder: Path) -> None:
        self.ssh_config = folder / "ssh_config"
        self.servers = {
            host: OpenSSHServer(folder / host, SSHClientFiles(folder / f"{host}-key", host))
            for host in HOSTS
        }
        for host in HOSTS:
            self.start(host)

    def start(self, host: str) -> None:
        self.servers[host].start()
        configs = [server.files.config for server in self.servers.values()]
        self.ssh_config.write_text("".join(path.read_text() for path in configs if path.exists()))

    def results(self, root: Path, host: str) -> list[str]:
        """Keys in the order in which a board measured them."""
        dataset_id = LatencyDataset.load(dataset_path(root)).context.dataset_id
        job_id = open_run(root).job_id(dataset_id)
        path = self.servers[host].home / "work" / "jobs" / job_id / "results.jsonl"
        return (
            [json.loads(line)["key"] for line in path.read_text().splitlines()]
            if path.exists()
            else []
        )

    def measured(self, root: Path) -> dict[str, list[str]]:
        """Keys of subnets, by the board that measured them."""
        return {
            host: [key for key in self.results(root, host) if key != "reference"] for host in HOSTS
        }


@pytest.fixture
def fleet(tmp_path: Path):
    made = Fleet(tmp_path)
    yield made
    for server in made.servers.values():
        server.close()


class Watching(SilentProgress):
    """Progress that calls a function when a subnet was first measured on a board."""

    def __init__(self, host: str, act) -> None:
        self._host = host
        self._act = act

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "measure on board" and note.startswith(f"{self._host}: ") and self._act:
            act = self._act
            self._act = None
            act()


def dataset_path(root: Path) -> Path:
    return Workspace(root).latency_path("board", "sentence")


def profile(root: Path, ssh_config: Path, progress: SilentProgress | None = None) -> ProfileSummary:
    run = mosdeploy.open_run(root, progress=progress, ssh_config=ssh_config)
    return run.profile("board", hosts=HOSTS)


def assert_each_subnet_once(root: Path, fleet: Fleet) -> None:
    counts = Counter(key for keys in fleet.measured(root).values() for key in keys)
    dataset = LatencyDataset.load(dataset_path(root))
    assert set(counts) == set(dataset.measured)
    assert len(dataset.records) == len(counts) == 12
    assert set(counts.values()) == {1}


@pytest.mark.ssh
@needs_sshd
def test_three_boards_share_one_profile(root: Path, fleet: Fleet) -> None:
    summary = profile(root, fleet.ssh_config)
    assert (summary.measured_now, summary.num_records, summary.failed_boards) == (12, 12, {})
    assert_each_subnet_once(root, fleet)
    dataset = LatencyDataset.load(dataset_path(root))
    hosts = {session.session: session.host for session in read_sessions(dataset.path)}
    measured = fleet.measured(root)
    for record in dataset.records:
        assert record.arch.key in measured[hosts[record.session]]
    for session in read_sessions(dataset.path):
        keys = fleet.results(root, session.host)
        assert keys[0] == keys[-1] == "reference"
        assert len(session.references) == keys.count("reference") >= 2
        assert session.state.cores == session.after.cores
    assert [board.host for board in summary.boards] == list(HOSTS)
    assert sum(board.num_subnets for board in summary.boards) == 12
    assert sorted(board.time_ratio for board in summary.boards)[1] == 1.0
    assert summary.card.boards == summary.boards
    assert summary.noise_floor_percent > 0.0
    again = profile(root, fleet.ssh_config)
    assert (again.measured_now, again.boards, again.card) == (0, summary.boards, summary.card)


@pytest.mark.ssh
@needs_sshd
def test_a_board_that_dies_gives_its_work_to_the_others(
    root: Path, fleet: Fleet, monkeypatch
) -> None:
    monkeypatch.setattr(connect, "RECONNECT_WAITS_S", (0.1, 0.5))
    summary = profile(root, fleet.ssh_config, Watching("pi2", fleet.servers["pi2"].close))
    assert (summary.measured_now, summary.num_records, list(summary.failed_boards)) == (
        12,
        12,
        ["pi2"],
    )
    assert "gave up after 2 reconnects" in summary.failed_boards["pi2"]
    dataset = LatencyDataset.load(dataset_path(root))
    assert len(dataset.records) == len(dataset.measured) == 12
    others = Counter(key for host in ("pi1", "pi3") for key in fleet.measured(root)[host])
    assert set(others.values()) == {1}
    fleet.start("pi2")
    assert profile(root, fleet.ssh_config).measured_now == 0


@pytest.mark.ssh
@needs_sshd
def test_a_killed_profile_of_a_fleet_measures_nothing_twice(root: Path, fleet: Fleet) -> None:
    words = [
        "--ssh-config",
        str(fleet.ssh_config),
        "profile",
        "--device",
        "board",
        "--hosts",
        ",".join(HOSTS),
        "--json",
    ]
    command = [sys.executable, "-c", "from mosdeploy.cli import main; main()", *words]
    path = dataset_path(root)
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for _ in range(12_000):
            if path.exists() and path.read_bytes().count(b"\n") >= 3:
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    left = LatencyDataset.load(path)
    assert 2 <= len(left.records) < 12
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    summary = ProfileSummary.model_validate_json(done.stdout)
    assert (summary.measured_now, summary.num_records) == (12 - len(left.records), 12)
    assert [board.host for board in summary.boards] == list(HOSTS)
    assert LatencyDataset.load(path).records[: len(left.records)] == left.records
    assert_each_subnet_once(root, fleet)
    told = subprocess.run(
        command[:-1], cwd=root, capture_output=True, text=True, timeout=240
    ).stdout
    for board in summary.boards:
        taken = milliseconds(board.reference_ms)
        reference = f"reference {taken}, {board.time_ratio:.3f} of"
        assert f"{board.host}: {board.num_subnets} subnets, {reference}" in told


def test_when_no_board_answers_the_error_names_each(root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ssh_config = tmp_path / "ssh_config"
    ssh_config.write_text(f"Host pi*\n  HostName 127.0.0.1\n  Port {port}\n")
    with pytest.raises(
        DeviceError, match=r"every board failed, 12 subnets are not measured"
    ) as caught:
        profile(root, ssh_config)
    for host in HOSTS:
        assert f"{host}: 127.0.0.1 port {port} ('{host}') is unreachable" in str(caught.value)
    assert LatencyDataset.load(dataset_path(root)).records == []


@pytest.mark.parametrize(
    ("device", "hosts", "message"),
    [
        ("local", ("pi1",), "'local' is this machine, which has no host 'pi1'"),
        ("board", ("pi1", "pi2", "pi1"), "--hosts names pi1 twice"),
        ("board", ("pi1", "pi@2"), "device 'board' on 'pi@2': 'host'"),
        ("board", ("",), "device 'board' on '': 'host'"),
    ],
)
def test_hosts_that_make_no_fleet_are_refused(
    root: Path, device: str, hosts: tuple[str, ...], message: str
) -> None:
    finalists = Workspace(root).verified_path(device, "sentence")
    finalists.parent.mkdir(parents=True)
    finalists.write_text("{}\n")
    with pytest.raises(ConfigError, match=message):
        opened(root).profile(device, hosts=hosts, renew=True)
    assert finalists.exists()  # nothing is put away before the options are checked


def test_two_profiles_at_once_on_one_device_are_refused(folder: Path) -> None:
    path = Workspace(folder).latency_path("local", "sentence")
    with (
        locked(path, DeviceBusyError("held by the test")),
        pytest.raises(DeviceBusyError, match="another command measures on 'local'"),
    ):
        opened(folder).profile(budget=14)


def left_by_a_kill(folder: Path) -> Path:
    """What stays on a device where the host was killed after the last measurement: a candidate, and
    a session without an end.
    """
    path = Workspace(folder).latency_path("local", "sentence")
    (session,) = read_sessions(path)
    write_sessions(path, session.model_copy(update={"after": None}))
    job_id = open_run(folder).job_id(LatencyDataset.load(path).context.dataset_id)
    candidates = Path(run_profile(folder, "local").work_dir) / "jobs" / job_id / "candidates"
    candidates.mkdir(parents=True)
    (candidates / "reference.onnx").write_bytes(b"model")
    return candidates


def write_sessions(path: Path, session: SessionRecord) -> None:
    (path.parent / "sessions.jsonl").write_text(session.model_dump_json() + "\n")


def collect_again(folder: Path, progress: Progress) -> CollectResult:
    """All that is measured already, without a look at the device."""
    context = Context(open_run(folder), progress)
    path = context.files.latency_path("local", "sentence")
    archs = [record.arch for record in LatencyDataset.load(path).records]
    return collect(context, CollectRequest(run_profile(folder, "local"), archs, path, look=False))


def test_the_next_command_removes_what_a_killed_one_has_left(folder: Path) -> None:
    candidates = left_by_a_kill(folder)
    assert collect_again(folder, SilentProgress()).measured_now == 0
    assert not candidates.exists()
    (session,) = read_sessions(Workspace(folder).latency_path("local", "sentence"))
    assert session.after is not None


def test_where_nothing_was_left_no_board_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_a_kill(folder)
    opened_sessions = []

    def unreachable(context: Context, profile: DeviceProfile) -> None:
        opened_sessions.append(profile.name)
        raise DeviceError("unplugged")

    monkeypatch.setattr("mosdeploy.pipeline.measuring.collect.lasting_device", unreachable)
    progress = KeptProgress()
    collect_again(folder, progress)
    assert "could not be removed" in progress.messages[0]
    assert progress.messages[0].endswith("the same command tries it again: unplugged")
    path = Workspace(folder).latency_path("local", "sentence")
    (session,) = read_sessions(path)
    assert session.after is None
    write_sessions(path, session.model_copy(update={"after": session.state}))
    collect_again(folder, progress)
    assert (opened_sessions, len(progress.messages)) == (["local"], 1)
