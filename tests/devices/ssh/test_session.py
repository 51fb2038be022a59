"""What a link can do to a command or a transfer."""

import contextlib
import os
import threading
import time

import pytest
from stalling_proxy import StallingProxy

from mosdeploy.devices.connect import open_session
from mosdeploy.devices.ssh.session import MAX_READ_BACK_BYTES, CommandOutput
from mosdeploy.errors import ConnectionLostError, DeviceTimeoutError
from mosdeploy.storage import sha256_bytes


@pytest.fixture
def proxy(double, client_files):
    with contextlib.closing(StallingProxy(double.port)) as between:
        client_files.write(between.port, double.host_key)
        yield between


def test_a_cut_under_a_command_is_no_exit_status(make_profile, client_files, double):
    with open_session(make_profile("ssh"), client_files.config) as session:
        threading.Timer(0.3, double.cut).start()
        with pytest.raises(ConnectionLostError, match="lost"):
            session.run("sleep 20")
        with pytest.raises(ConnectionLostError):
            session.run("true")
        with pytest.raises(ConnectionLostError):
            session.read("/etc/hostname")


class LateChannel:
    """A channel whose last chunk and end arrive together, between two looks at it."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.eof_received = self.closed = False
        self.status_event = threading.Event()
        self.status_event.set()
        self.readable, self.writable = os.pipe()

    def fileno(self) -> int:
        return self.readable

    def recv_ready(self) -> bool:
        return bool(self.chunks)

    def recv_stderr_ready(self) -> bool:
        if not self.eof_received:
            self.chunks.append(b"the answer")
            self.eof_received = True
            os.write(self.writable, b"x")
        return False

    def recv(self, num_bytes: int) -> bytes:
        return self.chunks.pop()


def test_what_arrives_with_the_end_is_read():
    output = CommandOutput(LateChannel())
    assert output.collect(time.monotonic() + 10)
    assert output.text() == ("the answer", "")


@pytest.mark.parametrize(("line", "group"), [(b":12\n", 12), (b":1\n", None), (b":0\n", None)])
def test_no_device_names_a_group_that_is_everybody_s(line, group):
    channel = LateChannel()
    channel.chunks.append(b"mosdeploy-group" + line)
    output = CommandOutput(channel)
    output.collect(time.monotonic() + 10)
    assert output.group == group


@pytest.mark.slow
def test_a_stalled_link_is_noticed_by_every_call(make_profile, client_files, proxy, tmp_path):
    local = tmp_path / "large"
    local.write_bytes(bytes(3_000_000))
    calls = [
        lambda session: session.run("true"),
        lambda session: session.read("/etc/hostname"),
        lambda session: session.put_bytes(b"x", str(tmp_path / "x")),
        lambda session: session.put(local, str(tmp_path / "y")),
    ]
    for warm in (False, True):
        for call in calls:
            proxy.flowing.set()
            with open_session(
                make_profile("ssh", command_timeout_s=0.4), client_files.config
            ) as session:
                if warm:
                    session.read("/proc/self/cmdline")
                proxy.flowing.clear()
                with pytest.raises(DeviceTimeoutError):
                    call(session)


def test_an_upload_is_continued_where_it_was_cut(make_profile, client_files, double, tmp_path):
    data = os.urandom(200_000)
    local, remote = tmp_path / "local", tmp_path / "remote"
    local.write_bytes(data)
    part = tmp_path / f"remote.{sha256_bytes(data)[:16]}.part"
    with open_session(make_profile("ssh"), client_files.config) as session:
        part.write_bytes(data[:150_000])
        before = double.num_written
        session.put(local, str(remote))
        assert remote.read_bytes() == data
        assert double.num_written - before == 50_000
        part.write_bytes(
            bytes(150_000)
        )  # damaged: found by its hash, and sent again from the start
        session.put(local, str(remote))
        assert remote.read_bytes() == data
        assert not part.exists()


@pytest.mark.parametrize(("size", "most_reads"), [(1 << 16, 4), (MAX_READ_BACK_BYTES + 1, 0)])
def test_what_was_sent_is_not_read_back_in_many_pieces(
    make_profile, client_files, double, tmp_path, size, most_reads
):
    data, remote = os.urandom(size), tmp_path / "remote"
    part = tmp_path / f"remote.{sha256_bytes(data)[:16]}.part"
    with open_session(make_profile("ssh"), client_files.config) as session:
        before = double.num_reads
        session.put_bytes(data, str(remote))
        assert double.num_reads - before <= most_reads  # each waits for the one before
        assert remote.read_bytes() == data
        part.write_bytes(bytes(size))  # damaged, as a power cut leaves it
        session.put_bytes(data, str(remote))
    assert remote.read_bytes() == data
    assert [path.name for path in tmp_path.glob("remote*")] == ["remote"]
