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


@pytest.mark.parametrize(
    ("noise", "jump", "count"),
    [
        pytest.param(1e-4, 1.015, 0, id="less than two percent"),
        pytest.param(1e-4, 1.03, 1, id="more"),
        pytest.param(0.05, 1.07, 0, id="less than two deviations"),
        pytest.param(0.05, 1.2, 1, id="beyond the noise"),
    ],
)
def test_how_far_a_block_lies_from_the_rest(find, true_latency, draw, noise, jump, count):
    latency = true_latency(draw(400, seed=1)) * np.random.default_rng(2).lognormal(0, noise, 400)
    latency[100:150] *= jump
    assert len(find(latency)) == count


@pytest.mark.parametrize(("rows", "count"), [(9, 0), (13, 1)])
def test_a_few_rows_make_no_block(find, latency, rows, count):
    latency[100 : 100 + rows] *= 1.42
    assert len(find(latency)) == count


@pytest.mark.parametrize(("rows", "count"), [(43, 0), (44, 1)])
def test_of_how_many_rows_blocks_are_found(find, latency, rows, count):
    latency[:14] *= 1.42
    assert len(find(latency[:rows])) == count


def test_where_a_quarter_of_the_rows_was_slow_the_others_are_the_rest(find, latency):
    latency[:110] *= 1.3
    (block,) = find(latency)
    assert (block.start, block.stop) == (0, pytest.approx(110, abs=2))
    assert block.time_ratio == pytest.approx(1.3, rel=0.004)
