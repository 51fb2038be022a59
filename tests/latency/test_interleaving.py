"""A profile writes while another command reads its dataset: nothing that is read of two moments
passes for what is on the disk.
"""

import itertools

import pytest
from faults import Faults, faults

from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession
from mosdeploy.latency.predictor import FitFacts
from mosdeploy.records import DeviceState, Measurement, Timing

__all__ = ["faults"]

STATE = DeviceState(packages={"onnxruntime": "1.20.0"})


def reference(session, at, median_ms):
    timing = Timing(
        median_ms=median_ms, p90_ms=median_ms, p99_ms=median_ms, minimum_ms=median_ms, repeats=10
    )
    session.add_reference(at, Measurement(total=timing))


def read(path, space):
    """What a predictor is fitted on, and the fingerprint of what it says that it was fitted on."""
    dataset = LatencyDataset.load(path)
    samples = dataset.samples(space)
    return FitFacts.of(dataset, samples.runtime).dataset_sha256, samples.latency_ms.tolist()


@pytest.fixture
def measured(tmp_path, context, space, record):
    """A dataset, and what a profile that goes on writes, step by step."""
    path = tmp_path / "latency.jsonl"
    context = context.model_copy(update={"graph_sha256": "0" * 64})
    archs = [space.smallest, space.largest]
    clock = itertools.count(3)
    dataset = LatencyDataset.open(path, context)
    first, second = (ProfilingSession(path, "board", STATE, dataset_id="first") for _ in range(2))

    def measure(session, arch, ms):
        dataset.append(record(arch, ms).model_copy(update={"session": session.record.session}))

    reference(first, "1", 10.0)
    measure(first, archs[0], 3.0)
    measure(first, archs[1], 6.0)
    reference(second, "2", 20.0)
    measure(second, archs[0], 7.0)

    def go_on():
        # the board was slower still than it seemed: the older times count for more from here on
        reference(second, str(next(clock)), 30.0)
        yield
        measure(second, archs[1], 13.0)
        yield
        second.end(STATE)
        yield

    return path, go_on


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_what_is_read_of_two_moments_passes_for_neither(
    measured, tmp_path, space, faults: Faults, num_steps
):
    path, go_on = measured
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    before = read(path, space)
    for number in itertools.count(1):
        for file, content in files.items():
            file.write_bytes(content)
        steps = go_on()
        with faults.before(
            number,
            tmp_path,
            lambda: [next(steps) for _ in range(num_steps)],  # noqa: B023
            reads=True,
        ):
            sha256, latency_ms = read(path, space)
        after = dict([before, read(path, space)])
        assert after.get(sha256, latency_ms) == latency_ms
        if not faults.failed:
            break
    assert number > 2
