"""What a test sees of an agent from outside: its process and its results file."""

import json
import time
from pathlib import Path

from mosdeploy.config import Workload

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
