"""What a test sees of an agent from outside: its process and its results file."""

import contextlib
import json
import subprocess
import time
from pathlib import Path

from mosdeploy.spaces.spec import StageInput, TimingStage

SOURCE = StageInput(name="source_ids", shape=(1, 5), low=4, high=50)


def run_of(num_steps):
    """Inputs of `tiny_onnx.tiny_model` for so many steps of its loop."""
    limits = (
        StageInput(name=name, shape=(), value=num_steps) for name in ("max_steps", "min_steps")
    )
    return (SOURCE, *limits)


PROTOCOL = {
    "warmup": 2,
    "min_repeats": 10,
    "max_repeats": 40,
    "precision_percent": 2.0,
    "min_time_s": 0.0,
    "max_time_s": 1e3,
}
"""How often a model is timed, in a job."""

STAGES = (
    TimingStage(name="total", inputs=run_of(4)),
    TimingStage(name="first", inputs=run_of(0)),
    TimingStage(name="rest", minus="first"),
)
"""How a `tiny_model` is timed: all of it, what comes before the loop, and the loop."""

QUICK = {"warmup": 1, "max_repeats": 10, "reference_every": 1, "max_drift_percent": 1e6}
"""A protocol that is soon over, and finds no machine too busy."""


def all_lines(profile, job_id="job"):
    path = Path(profile.work_dir) / "jobs" / job_id / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def result_lines(profile, job_id="job"):
    """Results of what was to be measured; the reference comes on top."""
    return [line for line in all_lines(profile, job_id) if line["key"] != "reference"]


def wait_for(condition):
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 120 s")


def agent_pid(profile, job_id="job"):
    return int((Path(profile.work_dir) / "jobs" / job_id / "pid").read_text())


def is_alive(pid):
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@contextlib.contextmanager
def other_agent(work_dir):
    """What looks like the agent of another job, for as long as the context lasts: its pid."""
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    agent = ["sh", "-c", "read line", f"{folder}/jobs/other"]
    with subprocess.Popen(agent, stdin=subprocess.PIPE) as process:
        holder = {"pid": process.pid, "job": "other", "since": "noon"}
        (folder / "agent.lock").write_text(json.dumps(holder))
        wait_for(Path(f"/proc/{process.pid}/cmdline").read_bytes)
        yield process.pid
