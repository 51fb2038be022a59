import pytest
from latency_fixtures import draw, space, spec, true_latency

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import LatencyContext, LatencyRecord, Measurement, Timing
from mosdeploy.spaces import ArchConfig
from mosdeploy.storage import fingerprint

__all__ = ["context", "draw", "record", "space", "spec", "true_latency"]


@pytest.fixture
def context(spec) -> LatencyContext:
    return LatencyContext(
        dataset_id="first",
        device=DeviceProfile(name="board", host="board"),
        workload=spec.workload,
        space_sha256=fingerprint(spec.space),
        vocab_size=spec.vocab_size,
    )


@pytest.fixture(scope="session")
def record():
    """Make the record of a measurement of so many milliseconds, or (None) of one that failed."""

    def make(arch: ArchConfig, median_ms: float | None) -> LatencyRecord:
        timing = None
        if median_ms is not None:
            timing = Timing(median_ms=median_ms, p90_ms=median_ms, minimum_ms=median_ms, repeats=10)
        return LatencyRecord(
            arch=arch,
            measurement=Measurement(
                total=timing, error="out of memory" if timing is None else None
            ),
            runtime="onnxruntime 1.20.0",
            measured_at="2025-01-01T00:00:00Z",
            session="s1",
        )

    return make
