import numpy as np
import pytest

from mosdeploy.evaluation.racing import ALPHA, NUM_BLOCKS, interim_looks, should_stop


def stops(nats, incumbent):
    """Whether an evaluation of these blocks would stop at one of the looks."""
    return any(
        should_stop(nats[:seen], incumbent, len(nats)) for seen in interim_looks(len(nats))[:-1]
    )


def test_one_that_is_never_worse_is_never_stopped():
    rng = np.random.default_rng(0)
    for _ in range(200):
        incumbent = rng.gamma(2.0, 20.0, NUM_BLOCKS)
        better = incumbent - rng.exponential(0.1, NUM_BLOCKS) * (rng.random(NUM_BLOCKS) < 0.5)
        assert not stops(better, incumbent)
        assert not stops(incumbent, incumbent)


def test_one_that_is_worse_everywhere_stops_at_once():
    incumbent = np.random.default_rng(0).gamma(2.0, 20.0, NUM_BLOCKS)
    assert should_stop(incumbent[: interim_looks(NUM_BLOCKS)[0]] + 1e-3, incumbent, NUM_BLOCKS)


def test_an_equal_is_stopped_no_more_often_than_alpha():
    """The true mean over all blocks is made equal: whatever stops is stopped wrongly."""
    rng = np.random.default_rng(1)
    trials = 10_000
    wrong = 0
    for _ in range(trials):
        difference = rng.standard_normal(NUM_BLOCKS)
        wrong += stops(difference - difference.mean(), np.zeros(NUM_BLOCKS))
    assert wrong / trials <= 1.5 * ALPHA


def test_two_deviations_a_block_are_seen_in_a_quarter():
    rng = np.random.default_rng(2)
    seen = interim_looks(NUM_BLOCKS)[0]
    found = [
        should_stop(rng.normal(2.0, 1.0, NUM_BLOCKS)[:seen], np.zeros(NUM_BLOCKS), NUM_BLOCKS)
        for _ in range(200)
    ]
    assert np.mean(found) > 0.95


@pytest.mark.parametrize(
    ("num_blocks", "looks"), [(64, (16, 32, 64)), (8, (2, 4, 8)), (4, (2, 4)), (2, (2,)), (1, (1,))]
)
def test_looks_by_hand(num_blocks, looks):
    assert interim_looks(num_blocks) == looks


def test_a_quantile_by_hand():
    """Eight of sixteen blocks, mean 1, deviation 1: the error is sqrt(0.5 / 8) = 0.25, and t(7) at
    0.9995 is 5.408.
    """
    shape = np.array([-1.0, 1.0] * 4) * np.sqrt(7 / 8)
    for mean, answer in ((1.353, True), (1.351, False)):
        assert should_stop(shape + mean, np.zeros(16), 16) is answer
