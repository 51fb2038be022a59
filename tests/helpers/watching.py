"""What a test sees of an agent from outside: its process and its results file."""

import json
import time
from pathlib import Path

from mosdeploy.spaces.translation import TranslationWorkload

WORKLOAD = TranslationWorkload(source_len=5, decode_steps=4)
QUICK = {"warmup": 1, "max_repeats": 10, "reference_every": 1, "max_drift_percent": 1e6}
"""A protocol that is soon over, and finds no machine too busy."""


def all_lines(profile, job_id="job"):
    path = Path(profile.work_dir) / "jobs" / job_id / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def result_lines(profile, job_id="job"):
    """Results of what was to be measured; the reference comes on top."""
    return [line for line in all_lines(profile, job_id) if line["key"] != "reference"]


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
