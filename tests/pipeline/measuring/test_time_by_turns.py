"""Models that are timed by turns: how often, and what a killed command leaves."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tiny_onnx import tiny_model
from watching import QUICK, STAGES

from mosdeploy.config.device import DeviceProfile, MeasureProtocol
from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.measure import MeasurementTask
from mosdeploy.pipeline.measuring.time_by_turns import MIN_ROUNDS, time_by_turns
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run

TIMING = {"median_ms": 1e6, "p90_ms": 1e6, "p99_ms": 1e6, "minimum_ms": 1e6, "repeats": 10}


@pytest.fixture
def device(folder: Path) -> Device:
    work_dir = str(folder / "device")
    measure = MeasureProtocol(**QUICK)
    profile = DeviceProfile(name="here", kind="local", work_dir=work_dir, measure=measure)
    return Device(LocalSession(), profile)


def results_path(device: Device) -> Path:
    return Path(device.work_dir()) / "jobs" / "job" / "results.jsonl"


def test_each_has_its_rounds_and_one_that_fails_has_none(folder: Path, device: Device) -> None:
    def build(key: str) -> bytes:
        return tiny_model(broken=key == "broken")

    task = MeasurementTask("job", STAGES, threads=1, build=build)
    context = Context(open_run(folder))
    found = time_by_turns(context, device, task, ["a", "b", "broken"])
    assert [found[key].rounds for key in ("a", "b")] == [MIN_ROUNDS] * 2
    assert found["broken"].total is None and found["broken"].error
    # the next command times all afresh
    assert not results_path(device).exists()


def test_a_model_may_be_on_the_device_already(folder: Path, device: Device) -> None:
    path = folder / "there.onnx"
    path.write_bytes(tiny_model())
    task = MeasurementTask("job", STAGES, threads=1, build=lambda _: str(path))
    found = time_by_turns(Context(open_run(folder)), device, task, ["a"])
    assert found["a"].total is not None
    assert path.exists()


def test_rounds_of_last_week_do_not_count(folder: Path, device: Device) -> None:
    then = (datetime.now(UTC) - timedelta(weeks=1)).isoformat()
    left = {"key": "a", "measured_at": then, "measurement": {"total": TIMING}}
    results_path(device).parent.mkdir(parents=True)
    results_path(device).write_text((json.dumps(left) + "\n") * MIN_ROUNDS)
    task = MeasurementTask("job", STAGES, threads=1, build=lambda _: tiny_model())
    found = time_by_turns(Context(open_run(folder)), device, task, ["a"])
    assert found["a"].total is not None and found["a"].total.median_ms < 1e6
