import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from deploying import RUNTIME, SLOT, taking, write_request
from openssh import OpenSSHServer, SSHClientFiles
from ssh_double import SSHDouble
from watching import QUICK

from mosdeploy.config.device import DeviceProfile, MeasureProtocol
from mosdeploy.config.sections import DeployConfig
from mosdeploy.devices import deploy as room
from mosdeploy.devices.connect import LocalSession, open_session
from mosdeploy.devices.deploy import deploy
from mosdeploy.devices.device import Device
from mosdeploy.devices.measure import ignore
from mosdeploy.records import DeviceState


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
            "measure": MeasureProtocol(**QUICK, candidate_timeout_s=60.0),
        }
        return DeviceProfile(**{**values, **changes})

    return make


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


@pytest.fixture
def server(tmp_path, client_files):
    """A real OpenSSH server, for tests with the marker `ssh`."""
    made = OpenSSHServer(tmp_path / "sshd", client_files)
    made.start()
    yield made
    made.close()


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


@pytest.fixture
def runtime_dir(tmp_path):
    """What runs the bundles of `deploying`."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(RUNTIME)
    return folder


@pytest.fixture
def device(make_profile):
    """This machine, under the name `dev`."""
    return Device(LocalSession("dev"), make_profile())


@pytest.fixture
def put(device, tmp_path, runtime_dir, monkeypatch):
    """Deploys a bundle, made with the given content unless it exists, and returns the record.

    The device's state is made up, and so are the times, since they take time: 1 ms unless
    `measured` gives others.
    """
    made = {}
    monkeypatch.setattr(room, "describe", lambda *_: DeviceState())

    def request(name, **content):
        if name not in made:
            made[name] = write_request(tmp_path / "bundles" / name, runtime_dir, **content)
        return made[name]

    def put(name, keep=3, session=None, slot=SLOT, measured=(), told=None, limits=None, **content):
        left = iter(measured or [taking(1.0)] * 3)
        monkeypatch.setattr(room, "measure_model", lambda *_: next(left))
        given = replace(request(name, **content), **(limits or {}))
        on = replace(device, session=session) if session else device
        notify = ignore if told is None else told.append
        return deploy(on, slot, given, DeployConfig(keep_versions=keep), notify)

    put.request = request
    return put


@pytest.fixture
def bundles(make_profile):
    return Path(make_profile().work_dir) / "bundles" / SLOT.name
