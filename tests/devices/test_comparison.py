"""Comparisons of models: what a killed one leaves."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tiny_onnx import tiny_model
from watching import QUICK, STAGES

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.devices.comparison import MIN_ROUNDS, compare
from mosdeploy.devices.local import LocalSession
from mosdeploy.devices.task import MeasurementTask

TIMING = {"median_ms": 1e6, "p90_ms": 1e6, "minimum_ms": 1e6, "repeats": 10}


class CountingSession(LocalSession):
    """Knows which models were sent."""

    def __init__(self):
        super().__init__()
        self.models = []

    def put_bytes(self, data, remote_path):
        if remote_path.endswith(".onnx"):
            self.models.append(Path(remote_path).name)
        super().put_bytes(data, remote_path)


def test_a_comparison_takes_no_rounds_of_last_week(make_profile):
    profile = make_profile(measure=MeasureProtocol(**QUICK))
    path = Path(profile.work_dir) / "jobs" / "job" / "results.jsonl"
    path.parent.mkdir(parents=True)
    then = (datetime.now(UTC) - timedelta(weeks=1)).isoformat()
    left = {"key": "a", "measured_at": then, "measurement": {"total": TIMING}}
    path.write_text((json.dumps(left) + "\n") * MIN_ROUNDS)
    task = MeasurementTask("job", STAGES, threads=1, build=lambda _: tiny_model())
    session = CountingSession()
    found = compare(session, profile, task, ["a"])
    assert found["a"].total.median_ms < 1e6
    assert not path.exists()
    assert session.models == ["reference.onnx"]  # which `a` is, too
