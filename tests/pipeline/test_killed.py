"""kill -9 in the middle of a verb: the same command resumes, loses nothing finished and repeats
nothing. After the signals that a process hears, nothing is left half-written either.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from walking import edit, make_run_folder, opened

from mosdeploy.run_folder.run import open_run

pytestmark = pytest.mark.slow


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from mosdeploy.cli import main; main()", *words]
    return subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    )


def hear_signals() -> None:
    """Undo what a shell or nohup did that started the tests: to ignore some."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def finish(root: Path, *words: str) -> None:
    process = start(root, *words)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def kill_at(root: Path, path: Path, num_lines: int, *words: str) -> list[bytes]:
    """Start a verb, kill it when a file has so many lines; the whole lines that it left."""
    process = start(root, *words)
    for _ in range(12_000):
        content = path.read_bytes() if path.exists() else b""
        if content.count(b"\n") >= num_lines:
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1].splitlines()


def test_a_killed_training_ends_as_an_undisturbed_one(walked: Path, tmp_path: Path) -> None:
    root = make_run_folder(tmp_path / "run")
    log = root / "supernet" / "log.jsonl"
    kill_at(root, log, 2, "train")
    kill_at(root, log, 7, "train")
    finish(root, "train")
    killed, undisturbed = (
        safetensors.torch.load_file(folder / "supernet" / "supernet.safetensors")
        for folder in (root, walked)
    )
    assert killed.keys() == undisturbed.keys()
    assert all(torch.equal(killed[name], undisturbed[name]) for name in undisturbed)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 13))


def test_a_killed_profile_measures_nothing_twice(walked: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(walked, tmp_path / "run"))
    shutil.rmtree(root / "predictors")
    edit(root / "device_profiles" / "local.toml", str(walked), str(root))
    path = root / "predictors" / "local-sentence" / "latency.jsonl"
    first = kill_at(root, path, 3, "profile")
    second = kill_at(root, path, len(first) + 3, "profile")
    finish(root, "profile")
    content = path.read_bytes().splitlines()
    assert content[: len(second)] == second
    assert second[: len(first)] == first
    assert (
        len({json.dumps(json.loads(line)["arch"]) for line in content[1:]})
        == len(content) - 1
        == 12
    )
    job_id = open_run(root).job_id(json.loads(content[0])["dataset_id"])
    job = root / "device" / "jobs" / job_id / "results.jsonl"
    keys = [json.loads(line)["key"] for line in job.read_text().splitlines()]
    # every start measures the reference, which is no subnet
    keys = [key for key in keys if key != "reference"]
    assert len(keys) == len(set(keys)) == 12


def test_a_killed_search_computes_no_loss_twice(walked: Path, tmp_path: Path) -> None:
    words = ("search", "--max-latency", "10s", "--no-verify")
    undisturbed = Path(shutil.copytree(walked, tmp_path / "undisturbed"))
    killed = Path(shutil.copytree(walked, tmp_path / "killed"))
    for root in (undisturbed, killed):
        shutil.rmtree(root / "search")
    opened(undisturbed).search("10s", verify=False)
    left = kill_at(killed, killed / "search" / "quality.jsonl", 5, *words)
    finish(killed, *words)
    lines = (killed / "search" / "quality.jsonl").read_bytes().splitlines()
    assert lines[: len(left)] == left
    assert lines == (undisturbed / "search" / "quality.jsonl").read_bytes().splitlines()
    assert (killed / "search" / "result.json").read_bytes() == (
        undisturbed / "search" / "result.json"
    ).read_bytes()


@dataclass(frozen=True)
class Ended:
    """A verb, what it has left when a signal comes, and the exit code."""

    verb: str
    number: signal.Signals
    code: int
    made: str
    num_lines: int = 0
    remove: str = ""

    def is_time(self, root: Path) -> bool:
        paths = list(root.glob(self.made))
        return bool(paths) and paths[0].read_bytes().count(b"\n") >= self.num_lines


ENDED = (
    Ended("train", signal.SIGTERM, 143, "supernet/log.jsonl", num_lines=3, remove="supernet"),
    Ended("profile", signal.SIGHUP, 129, "predictors/*/latency.jsonl", 3, remove="predictors"),
    Ended("export", signal.SIGINT, 130, "bundles/.*/new/model.onnx", remove="bundles"),
    Ended("export", signal.SIGTERM, 143, "bundles/.*/new/model.onnx", remove="bundles"),
    Ended("deploy", signal.SIGINT, 130, "device/bundles/*/*/SHA256SUMS", remove="device/bundles"),
    Ended("deploy", signal.SIGHUP, 129, "device/jobs/model-*/pid", remove="device"),
)


@pytest.mark.parametrize("ended", ENDED, ids=lambda x: f"{x.verb}-{x.number.name}")
def test_a_signal_leaves_nothing_half_written(walked: Path, tmp_path: Path, ended: Ended) -> None:
    root = Path(shutil.copytree(walked, tmp_path / "run"))
    edit(root / "device_profiles" / "local.toml", str(walked), str(root))
    shutil.rmtree(root / ended.remove)
    process = start(root, ended.verb)
    for _ in range(12_000):
        if ended.is_time(root):
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(ended.number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == ended.code, errors
    assert "what was finished is kept, the same command resumes" in errors
    assert "Traceback" not in errors
    half = [*root.rglob("*.partial"), *root.glob("bundles/.*/"), *root.glob("*/.*.new")]
    assert half == []
    for path in root.glob("device/jobs/*/pid"):  # no agent works on
        cmdline = Path("/proc", path.read_text().strip(), "cmdline")
        assert not (cmdline.exists() and str(root).encode() in cmdline.read_bytes())
    finish(root, ended.verb)
