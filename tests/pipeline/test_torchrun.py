"""The verbs under torchrun, as typed: two processes come to what one comes to, and a killed one
stops the other.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from walking import edit, make_run_folder, opened

from mosdeploy.records import SupernetCard
from mosdeploy.run_folder.run import open_run

pytestmark = pytest.mark.slow

TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "mosdeploy"]
LOG = Path("supernet", "log.jsonl")


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
    run.finetune(pick, steps=6)
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


def make_folder(root: Path) -> Path:
    """A run folder whose steps have two batches."""
    make_run_folder(root)
    changed = "tokens_per_batch = 128\ngrad_accum_steps = 2"
    edit(root / "mosdeploy.toml", "tokens_per_batch = 256", changed)
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "run")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder that one process trained."""
    root = make_folder(tmp_path_factory.mktemp("alone") / "run")
    opened(root).train()
    return root


def card_of(root: Path) -> SupernetCard:
    return open_run(root).whole_supernet_card()


def test_two_processes_train_and_finetune_as_one(folder: Path, alone: Path) -> None:
    # a script calls one verb after another
    (folder / "verbs.py").write_text(VERBS)
    finish(folder, [*TWO[:-2], "verbs.py"])
    card, single = card_of(folder), card_of(alone)
    assert card.inputs == single.inputs
    assert card.largest_loss == pytest.approx(single.largest_loss, rel=1e-4)
    assert losses(folder / LOG) == pytest.approx(losses(alone / LOG), rel=1e-5)
    assert list((folder / "supernet").glob("*.npy")) == []
    tuned = [json.loads(path.read_text()) for path in folder.glob("subnets/*/subnet.json")]
    assert len(tuned) == 2
    assert all(subnet["loss"] < subnet["start_loss"] for subnet in tuned)
    # it was done already, and one process speaks
    words = ("finetune", "--pick", "smallest", "--steps", "6")
    assert finish(folder, TWO, *words).count("\n") == 1


def test_a_killed_process_ends_the_launcher_and_is_resumed(folder: Path, alone: Path) -> None:
    launcher = in_folder(folder, TWO, "train")
    log = folder / LOG
    for _ in range(20_000):
        if log.exists() and log.read_bytes().count(b"\n") >= 5:
            break
        assert launcher.poll() is None, launcher.communicate()[1]
        time.sleep(0.01)
    os.kill(ranks_of(launcher.pid)[1], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert "Signal 9 (SIGKILL)" in errors
    resumed = json.loads(finish(folder, TWO, "train", "--json"))
    assert resumed["inputs"] == card_of(alone).inputs
    assert losses(log) == pytest.approx(losses(alone / LOG), rel=1e-5)
