"""The commands of the README as typed, with `rpi` an alias of a real OpenSSH server in the user's
~/.ssh/config.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from openssh import SSHD, OpenSSHServer, SSHClientFiles
from walking import copy_trained, edit

from mosdeploy.cli import main

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here"),
]


@pytest.fixture
def home(tmp_path):
    """A user's home whose ssh_config names the server `rpi`; the board has a Python with the
    runtime, as set up.
    """
    home = tmp_path / "home"
    server = OpenSSHServer(tmp_path / "board", SSHClientFiles(home / ".ssh", alias="rpi"))
    venv = server.home / ".cache" / "mosdeploy" / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "python").chmod(0o755)
    server.start()
    yield home
    server.close()


@pytest.fixture
def folder(walked, tmp_path):
    """A trained run folder that knows no device."""
    return copy_trained(walked, tmp_path / "run")


def typed(line: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mosdeploy.cli import main; main()", *line.split()[1:]]
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def said(home, monkeypatch, capsys):
    """Types a line in this process, which must end well: what it prints."""
    monkeypatch.setenv("HOME", str(home))

    def say(line: str, folder: Path) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", line.split())
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert not end.value.code, f"{line}: {printed.err}"
        return printed.out

    return say


def typed_well(line: str, folder: Path, home: Path) -> str:
    done = typed(line, folder, home)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@pytest.mark.timeout(900)
def test_profile_search_export_deploy_over_ssh(folder, home, said):
    said("mosdeploy profile --device rpi", folder)
    typed_well("mosdeploy search --max-latency 150ms", folder, home)
    said("mosdeploy export", folder)
    typed_well("mosdeploy deploy", folder, home)
    result = json.loads((folder / "search" / "result.json").read_text())
    assert result["device"] == "rpi"
    assert result["verified"]
    assert result["winner"]["measured_ms"] <= 150.0
    deployment = json.loads((folder / "deployments" / "rpi.json").read_text())
    assert deployment["device"]["kind"] == "ssh"
    assert deployment["limit_ms"] == 150.0
    assert Path(deployment["remote_dir"], "bundle", "model.onnx").is_file()
    for line in ("mosdeploy export --precision int8", "mosdeploy deploy --device rpi"):
        said(line, folder)
    newer = json.loads((folder / "deployments" / "rpi.json").read_text())
    back = json.loads(said("mosdeploy deploy --rollback --json", folder))
    assert back == {**deployment, "rolled_back_from": [newer["bundle_sha256"]]}
    assert json.loads((folder / "deployments" / "rpi.json").read_text()) == back
    config = home / ".ssh" / "config"
    config.write_text(config.read_text() + config.read_text().replace("Host rpi", "Host pi2"))
    assert " on pi2:" in said("mosdeploy deploy --device rpi@pi2", folder)
    second_record = json.loads((folder / "deployments" / "rpi@pi2.json").read_text())
    assert second_record["device"]["host"] == "pi2"
    assert json.loads((folder / "deployments" / "rpi.json").read_text()) == back
    said("mosdeploy report", folder)
    assert "rpi (pi2)" in (folder / "report" / "index.html").read_text()
    again = json.loads(said("mosdeploy profile --device rpi --json", folder))
    assert again["measured_now"] == 0


@pytest.mark.timeout(900)
def test_an_encoder_over_ssh(tmp_path, home, said):
    root = make_encoder_folder(tmp_path / "encoder", "classification", steps="200")
    edit(root / "mosdeploy.toml", 'device = "local"\n', "")
    said("mosdeploy train", root)
    said("mosdeploy profile --device rpi", root)
    typed_well("mosdeploy search --max-latency 5ms", root, home)
    said("mosdeploy export", root)
    typed_well("mosdeploy deploy", root, home)
    deployment = json.loads((root / "deployments" / "rpi.json").read_text())
    assert deployment["device"]["requirements"] == ["numpy", "onnxruntime", "tokenizers>=0.20"]
    assert deployment["self_test_passed"] and deployment["limit_ms"] == 5.0
    there = Path(deployment["remote_dir"], "bundle")
    assert (there / "tokenizer.json").is_file()
    # on the board itself, with what was copied there
    ran = subprocess.run(
        [sys.executable, "-m", "mosdeploy_runtime", there],
        cwd=there.parent,
        input="the film is bright\nit was dull\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.splitlines() == ["good", "bad"], ran.stderr
    assert said("mosdeploy predict bright", root).strip() == "good"


def test_an_unreachable_board_has_its_exit_code_and_its_remedy(folder, home):
    (home / ".ssh" / "config").write_text("Host rpi\n  HostName 127.0.0.1\n  Port 1\n")
    done = typed("mosdeploy profile --device rpi", folder, home)
    assert done.returncode == 5
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_host_key_is_refused(folder, home):
    (home / ".ssh" / "known_hosts").write_text("")
    done = typed("mosdeploy devices check rpi", folder, home)
    assert done.returncode == 5
    assert "is not known" in done.stderr
    assert "rpi`, then run the same command again" in done.stderr
