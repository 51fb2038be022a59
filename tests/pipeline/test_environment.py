"""The verbs where the locale knows ASCII alone, on a narrow and dumb terminal, in folders with
spaces and other letters.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY
from walking import edit, opened

from mosdeploy.records import Deployment
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace

pytestmark = pytest.mark.slow

NARROW = {
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "TERM": "dumb",
    "COLUMNS": "20",
    "NO_COLOR": "1",
}


def on_terminal(root: Path, *words: str) -> tuple[int, bytes]:
    """Run a command line in a folder, on a terminal of its own: exit code, and what it shows."""
    screen, terminal = os.openpty()
    with subprocess.Popen(
        [*MOSDEPLOY, *words],
        cwd=root,
        env={**ENVIRONMENT, **NARROW},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while block := os.read(screen, 65536):
                shown += block
        except OSError:  # Linux's end of a terminal that nobody holds open
            pass
        os.close(screen)
    return process.returncode, shown


@pytest.fixture
def odd_folder(walked: Path, tmp_path: Path) -> Path:
    """The walked folder, with other letters in the names of it, its data and its device."""
    root = tmp_path / "Übersetzer 翻訳 1"
    shutil.copytree(walked, root, ignore=shutil.ignore_patterns("device"))
    (root / "data").rename(root / "Daten für alle")
    edit(root / "mosdeploy.toml", "data/train", "Daten für alle/train")
    edit(root / "device_profiles" / "local.toml", str(walked / "device"), str(root / "Gerät 1"))
    return root


def test_no_locale_and_no_terminal_changes_what_a_verb_writes(odd_folder: Path) -> None:
    for words in (
        ("search", "--max-latency", "10s"),
        ("export", "--precision", "int8"),
        ("deploy",),
        ("predict", "fünf", "--time"),
        ("report",),
        ("status",),
    ):
        code, shown = on_terminal(odd_folder, *words)
        assert code == 0, shown
        assert shown.isascii() and b"\x1b" not in shown and b"Traceback" not in shown, shown
    files = Workspace(odd_folder)
    deployed = read_record(Deployment, files.deployment_path("local"), "")
    assert deployed.remote_dir.startswith(str(odd_folder / "Gerät 1"))
    assert (Path(deployed.remote_dir) / "bundle" / "manifest.json").is_file()
    assert not (files.report_dir / "index.html").read_text(encoding="utf-8").isascii()
    states = {x.what: x.state for x in opened(odd_folder).status().parts}
    assert {what for what, state in states.items() if state != "ok"} == {"subnet"}
