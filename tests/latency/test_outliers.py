import numpy as np
import pytest
from mosdeploy.spaces.latency_features import latency_features, sums_from_genes

from mosdeploy.latency.outliers import find_outlier_blocks, rows_outside


@pytest.fixture(scope="module")
def columns(space, workload, draw):
    return latency_features(sums_from_genes(space, draw(400, seed=1)), space.qkv_dim, workload, 500)


@pytest.fixture
def latency(true_latency, draw):
    return true_latency(draw(400, seed=1)) * np.random.default_rng(2).lognormal(0, 0.01, 400)


def test_blocks_are_found_where_they_are(columns, latency):
    latency[:20] *= 1.2
    latency[300:360] *= 1.42
    first, second = find_outlier_blocks(columns, latency)
    assert (first.start, second.start) == (0, pytest.approx(300, abs=2))
    assert (first.stop, second.stop) == (pytest.approx(20, abs=2), pytest.approx(360, abs=2))
    assert (first.level, second.level) == (
        pytest.approx(1.2, rel=0.02),
        pytest.approx(1.42, rel=0.02),
    )


def test_a_faster_block_is_a_block_too(columns, latency):
    latency[100:150] *= 0.9
    (block,) = find_outlier_blocks(columns, latency)
    assert block.time_ratio == pytest.approx(0.9, rel=0.02)


def test_noise_and_scattered_bad_rows_are_none(columns, latency):
    assert find_outlier_blocks(columns, latency) == ()
    latency[::17] *= 2.0
    assert find_outlier_blocks(columns, latency) == ()


def test_too_few_rows_have_no_blocks(columns, latency):
    latency[:12] *= 2.0
    assert find_outlier_blocks(columns[:30], latency[:30]) == ()


def test_rows_outside_are_those_in_no_block(columns, latency):
    latency[:20] *= 1.2
    (block,) = find_outlier_blocks(columns, latency)
    np.testing.assert_array_equal(
        np.flatnonzero(~rows_outside((block,), 400)), np.arange(block.start, block.stop)
    )
