import numpy as np
import pytest

from mosdeploy.latency.outliers import find_outlier_blocks, rows_outside


@pytest.fixture(scope="module")
def find(spec, draw):
    """The blocks of latencies of the first subnets."""
    features = spec.latency_features(draw(400, seed=1))

    def call(latency_ms):
        return find_outlier_blocks(features[: len(latency_ms)], latency_ms, spec.num_core_features)

    return call


@pytest.fixture
def latency(true_latency, draw):
    return true_latency(draw(400, seed=1)) * np.random.default_rng(2).lognormal(0, 0.01, 400)


def test_blocks_are_found_where_they_are(find, latency):
    latency[:20] *= 1.2
    latency[300:360] *= 1.42
    first, second = find(latency)
    assert (first.start, second.start) == (0, pytest.approx(300, abs=2))
    assert (first.stop, second.stop) == (pytest.approx(20, abs=2), pytest.approx(360, abs=2))
    assert first.time_ratio == pytest.approx(1.2, rel=0.02)
    assert second.time_ratio == pytest.approx(1.42, rel=0.02)


def test_a_faster_block_is_a_block_too(find, latency):
    latency[100:150] *= 0.9
    (block,) = find(latency)
    assert block.time_ratio == pytest.approx(0.9, rel=0.02)


def test_noise_and_scattered_bad_rows_are_none(find, latency):
    assert find(latency) == ()
    latency[::17] *= 2.0
    assert find(latency) == ()


def test_too_few_rows_have_no_blocks(find, latency):
    latency[:12] *= 2.0
    assert find(latency[:30]) == ()


def test_rows_outside_are_those_in_no_block(find, latency):
    latency[:20] *= 1.2
    (block,) = find(latency)
    inside = np.flatnonzero(~rows_outside((block,), 400))
    np.testing.assert_array_equal(inside, np.arange(block.start, block.stop))
