"""Lines of measurements, there and back."""

import json
from typing import Any

import pytest
from example_spaces import SMALL_ARCH

from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.records import DeviceState, LatencyRecord, Measurement, RowBlock, Timing


def there_and_back(record: Any) -> Any:
    return parse(type(record), json.loads(record.model_dump_json()), "a line")


def test_lines_there_and_back() -> None:
    timing = Timing(median_ms=2.0, p90_ms=2.5, p99_ms=2.5, minimum_ms=1.5, repeats=10)
    record = LatencyRecord(
        arch=SMALL_ARCH,
        measurement=Measurement(total=timing, parts={"layers": timing}, rounds=3),
        runtime="onnxruntime",
        measured_at="2026-01-01T00:00:00+00:00",
        session="0123",
    )
    assert there_and_back(record) == record
    state = DeviceState(cpu_features=("neon",), frequencies_mhz=(600.0,), packages={"numpy": "2"})
    assert there_and_back(state) == state


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Measurement, {"parts": {}, "speed": 1}, "unknown key 'speed'"),
        (Measurement, {"parts": {"x": {"median_ms": 1.0}}}, "missing key 'parts.x.p90_ms'"),
        (DeviceState, {"cores": "two"}, "'cores': Input should be a valid integer"),
        (RowBlock, {"start": 0, "stop": 1}, "missing key 'time_ratio'"),
    ],
)
def test_what_does_not_fit_is_named(model: Any, data: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(model, data, "a line")
