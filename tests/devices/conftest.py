import subprocess
import sys
from pathlib import Path

import paramiko
import pytest
from ssh_double import SSHDouble

from mosdeploy.config import DeviceProfile, MeasureProtocol
from mosdeploy.devices.connect import open_session


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


@pytest.fixture
def bare_python(tmp_path):
    """A Python that has no numpy and no onnxruntime."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")
