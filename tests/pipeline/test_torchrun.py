"""The verbs under torchrun, as typed: two processes come to what one comes to, and a killed one
stops the other.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from walking import edit, make_run_folder

pytestmark = pytest.mark.slow

TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "mosdeploy"]
ONE = [sys.executable, "-m", "mosdeploy"]


def in_folder(root: Path, command: list[str], *words: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *words], cwd=root, env=environment, **pipes)


def finish(root: Path, command: list[str], *words: str) -> str:
    process = in_folder(root, command, *words)
    output, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    return output


VERBS = """
import mosdeploy

run = mosdeploy.open_run(".")
run.train()
for pick in ("smallest", "largest"):
    run.finetune(pick, steps=4)
"""


def ranks_of(launcher: int) -> dict[int, int]:
    """Process ids of the ranks that a launcher started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    found = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(entry[5:]): int(child) for entry in environment if entry.startswith(b"RANK=")}
    return found


def losses(path: Path, name: str = "loss") -> list[float]:
    return [json.loads(line)[name] for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder whose steps have two batches."""
    root = make_run_folder(tmp_path / "run")
    changed = "tokens_per_batch = 128\ngrad_accum_steps = 2"
    edit(root / "mosdeploy.toml", "tokens_per_batch = 256", changed)
    return root


def test_two_processes_train_finetune_and_search_as_one(folder: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(folder, tmp_path / "alone"))
    card = json.loads(finish(folder, TWO, "train", "--json"))
    single = json.loads(finish(alone, ONE, "train", "--json"))
    assert card["inputs_sha256"] == single["inputs_sha256"]
    assert card["largest_loss"] == pytest.approx(single["largest_loss"], rel=1e-4)
    log = Path("supernet", "log.jsonl")
    assert losses(folder / log) == pytest.approx(losses(alone / log), rel=1e-5)
    assert list((folder / "supernet").glob("*.npy")) == []
    words = ("finetune", "--pick", "smallest", "--steps", "6")
    tuned = json.loads(finish(folder, TWO, *words, "--json"))
    assert tuned["loss"] < tuned["start_loss"]
    # it was done already, and one process speaks
    assert finish(folder, TWO, *words).count("\n") == 1
    words = ("search", "--max-parameters", "60000", "--no-verify", "--json")
    found = json.loads(finish(folder, TWO, *words))
    quality = folder / "search" / "quality.jsonl"
    lines = quality.read_text()
    quality.unlink()
    assert json.loads(finish(folder, ONE, *words)) == found
    assert quality.read_text() == lines


def test_a_script_calls_one_verb_after_another(folder: Path) -> None:
    (folder / "verbs.py").write_text(VERBS)
    finish(folder, [*TWO[:-2], "verbs.py"])
    assert len(list((folder / "subnets").glob("*/subnet.json"))) == 2


def test_a_killed_process_ends_the_launcher_and_is_resumed(folder: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    finish(whole, ONE, "train")
    launcher = in_folder(folder, TWO, "train")
    log = folder / "supernet" / "log.jsonl"
    for _ in range(20_000):
        if log.exists() and log.read_bytes().count(b"\n") >= 5:
            break
        assert launcher.poll() is None, launcher.communicate()[1]
        time.sleep(0.01)
    os.kill(ranks_of(launcher.pid)[1], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert "Signal 9 (SIGKILL)" in errors
    finish(folder, TWO, "train")
    assert losses(log) == pytest.approx(losses(whole / "supernet" / "log.jsonl"), rel=1e-5)
