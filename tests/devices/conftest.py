import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import paramiko
import pytest
from ssh_double import SSHDouble

from mosdeploy.config import DeviceProfile, MeasureProtocol, Workload
from mosdeploy.devices.connect import open_session

WORKLOAD = Workload(source_len=5, decode_steps=4)


def result_lines(profile, job_id="job"):
    path = Path(profile.work_dir) / "jobs" / job_id / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


def agent_pid(profile, job_id="job"):
    return int((Path(profile.work_dir) / "jobs" / job_id / "pid").read_text())


def is_alive(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def make_profile(tmp_path):
    """Profiles of a device whose work folder lies in the test's own folder."""

    def make(kind="local", **changes):
        values = {
            "name": "dev",
            "kind": kind,
            "host": "dev" if kind == "ssh" else None,
            "python": sys.executable,
            "work_dir": str(tmp_path / "device"),
            "connect_timeout_s": 5.0,
            "command_timeout_s": 20.0,
            "measure": MeasureProtocol(warmup=1, repeats=10, candidate_timeout_s=60.0),
        }
        return DeviceProfile(**{**values, **changes})

    return make


class SSHClientFiles:
    """A user's key, known_hosts and ssh_config with the alias `dev`."""

    def __init__(self, folder):
        folder.mkdir()
        self.key_path, self.known_hosts, self.config = folder / "id", folder / "known_hosts", folder / "config"
        self.key = paramiko.ECDSAKey.generate()
        self.key.write_private_key_file(str(self.key_path))

    def write(self, port, host_key=None, extra=""):
        if host_key:
            self.known_hosts.write_text(f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n")
        self.config.write_text(
            f"Host dev\n  HostName 127.0.0.1\n  Port {port}\n  User tester\n  IdentityFile {self.key_path}\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n  IdentitiesOnly yes\n{extra}"
        )


@pytest.fixture
def client_files(tmp_path):
    return SSHClientFiles(tmp_path / "client")


@pytest.fixture
def double(tmp_path, client_files):
    """A server double that knows the user's key, and whose host key the user knows."""
    home = tmp_path / "home"
    home.mkdir()
    server = SSHDouble(home, [client_files.key])
    client_files.write(server.port, server.host_key)
    yield server
    server.close()


@pytest.fixture(params=["local", "ssh"])
def session(request, make_profile):
    """A session of each kind: this machine, and the server double."""
    profile = make_profile(request.param)
    config = Path("unused")
    if request.param == "ssh":
        request.getfixturevalue("double")
        config = request.getfixturevalue("client_files").config
    with open_session(profile, config) as opened:
        yield opened


class StallingProxy:
    """Passes bytes on to a port, until it is told to stall or to close."""

    def __init__(self, target_port):
        self.flowing = threading.Event()
        self.flowing.set()
        self.target_port, self.links = target_port, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.socket.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target_port))
            self.links += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                self.flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def cut(self):
        links, self.links = self.links, []
        for link in links:
            link.close()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.socket.close()
        self.flowing.set()
        self.cut()


@pytest.fixture
def bare_python(tmp_path):
    """A Python that has no numpy and no onnxruntime."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")
