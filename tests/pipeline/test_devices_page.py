"""The commands of the page on devices as typed, with boards behind OpenSSH."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openssh import SSHD, OpenSSHServer, SSHClientFiles
from pages import ROOT, Typist, make_home
from walking import copy_trained

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here"),
]

BOARDS = {"pi1": ("rpi", "pi5"), "pi2": (), "pi3": ()}
"""Servers, and other aliases of each."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A user's home whose ssh_config names the boards, each set up."""
    home = make_home(tmp_path / "home")
    with contextlib.ExitStack() as stack:
        configs = []
        for name, others in BOARDS.items():
            files: Any = SSHClientFiles(home / f"{name}-files", alias=" ".join((name, *others)))
            server: Any = stack.enter_context(
                contextlib.closing(OpenSSHServer(tmp_path / name, files))
            )
            shutil.copytree(home / ".cache", server.home / ".cache")
            server.start()
            configs.append(files.config.read_text())
        (home / ".ssh").mkdir()
        (home / ".ssh" / "config").write_text("\n".join(configs))
        yield home


@pytest.fixture
def run_folder(walked: Path, tmp_path: Path) -> Path:
    """A trained run folder that knows no device."""
    return copy_trained(walked, tmp_path / "en-de")


def test_a_reader_can_type_the_commands(run_folder: Path, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.md"

    def type_also(*lines: str) -> Any:
        def hook(folder: Path) -> None:
            other.write_text("".join(f"    {line}\n" for line in lines))
            Typist(home, folder).type_page(other)

        return hook

    before = {
        "mosdeploy deploy": type_also(
            "mosdeploy search --device rpi --max-latency 150ms", "mosdeploy export"
        ),
        "mosdeploy verify": type_also("mosdeploy deploy --device pi5"),
    }
    printed = Typist(home, run_folder, before).type_page(ROOT / "docs" / "devices.md")
    ready = [text for line, text in printed.items() if line.startswith("mosdeploy devices check")]
    assert len(ready) == 2
    assert all("NOT ready" not in text for text in ready)
    verified = json.loads((run_folder / "verified.json").read_text())
    assert (verified["kept"], verified["limit_ms"]) == (True, 20.0)
    assert verified["deployment"]["device"]["name"] == "pi5"
    record = json.loads((run_folder / "deployments" / "rpi@pi2.json").read_text())
    assert record["limit_ms"] == 150.0
    [cleaned] = [text for line, text in printed.items() if "clean rpi --yes" in line]
    assert " removed" in cleaned
