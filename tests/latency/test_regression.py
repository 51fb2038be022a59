import numpy as np
import pytest
from mosdeploy.spaces.latency_features import NUM_CORE_FEATURES, latency_features, sums_from_genes

from mosdeploy.latency.regression import fit_nonnegative


@pytest.fixture(scope="module")
def columns_of(space, workload):
    return lambda genes: latency_features(
        sums_from_genes(space, genes), space.qkv_dim, workload, 500
    )


def test_an_additive_truth_is_recovered_in_spite_of_outliers(columns_of, true_latency, draw):
    genes, unseen = draw(40, seed=1), draw(300, seed=2)
    latency = true_latency(genes)
    latency[[3, 11, 17, 30]] *= [1.4, 10.0, 1.3, 0.5]
    model = fit_nonnegative(columns_of(genes), latency, core_only=False)
    assert np.flatnonzero(model.weights == 0).tolist() == [3, 11, 17, 30]
    assert np.abs(model.predict(columns_of(unseen)) / true_latency(unseen) - 1).max() < 1e-3


def test_hand_worked_two_columns():
    columns = np.zeros((10, 15))
    columns[:, 0], columns[:, 1] = 1.0, np.arange(10)
    model = fit_nonnegative(columns, 3.0 + 2.0 * np.arange(10), core_only=True)
    assert model.coefficients[:2] == pytest.approx([3.0, 2.0])
    assert model.used == [0, 1]
    np.testing.assert_allclose(model.weights, 1.0, atol=1e-3)


def test_coefficients_are_never_negative(columns_of, draw):
    genes = draw(30, seed=3)
    latency = np.random.default_rng(0).lognormal(size=30)
    model = fit_nonnegative(columns_of(genes), latency, core_only=False)
    assert (model.coefficients >= 0).all()


def test_core_only_uses_only_the_core(columns_of, true_latency, draw):
    genes = draw(60, seed=4)
    model = fit_nonnegative(columns_of(genes), true_latency(genes), core_only=True)
    assert max(model.used) < NUM_CORE_FEATURES


def test_the_unit_of_time_does_not_matter(columns_of, true_latency, draw):
    genes = draw(30, seed=5)
    latency = true_latency(genes) * np.random.default_rng(1).normal(1, 0.02, 30)
    columns = columns_of(genes)
    in_ms, in_us = (
        fit_nonnegative(columns, latency * unit, core_only=True) for unit in (1.0, 1000.0)
    )
    np.testing.assert_allclose(in_us.predict(columns), 1000 * in_ms.predict(columns), rtol=1e-6)


def test_leverage_grows_away_from_the_samples(columns_of, true_latency, space, draw):
    rng = np.random.default_rng(0)
    shallow = [a for a in (space.sample(rng) for _ in range(400)) if len(a.decoder_layers) < 3][:40]
    genes = space.genes(shallow)
    model = fit_nonnegative(columns_of(genes), true_latency(genes), core_only=True)
    inside, outside = (
        model.leverage(columns_of(genes)),
        model.leverage(columns_of(space.genes([space.largest]))),
    )
    assert outside[0] > 2 * np.median(inside)
    assert inside.sum() == pytest.approx(len(model.used), rel=0.2)  # the trace of a hat matrix


def test_a_sample_trusted_by_half_counts_as_half_a_sample():
    columns = np.zeros((3, 15))
    columns[:, 0] = 1.0
    latency, sample_weight = np.array([1.0, 1.0, 1.01]), np.array([1.0, 1.0, 0.5])
    model = fit_nonnegative(columns, latency, sample_weight, core_only=True)
    # relative errors c/l - 1, weighted least squares: c = sum(w/l) / sum(w/l^2), w = sample_weight
    # times Tukey's weight
    relative = model.weights / latency
    assert model.coefficients[0] == pytest.approx(relative.sum() / (relative / latency).sum())
    assert model.weights[2] <= 0.5


def test_trusting_drifted_samples_less_lowers_the_error_on_unseen_subnets(
    columns_of, true_latency, draw
):
    genes, unseen = draw(40, seed=6), draw(200, seed=7)
    drift = np.where(
        np.arange(40) % 2, 0.002, 0.05
    )  # half of the samples taken while the device changed

    def error(seed, sample_weight):
        latency = true_latency(genes) * (1 + drift * np.random.default_rng(seed).normal(size=40))
        model = fit_nonnegative(columns_of(genes), latency, sample_weight, core_only=True)
        return np.abs(model.predict(columns_of(unseen)) / true_latency(unseen) - 1).mean()

    ratios = [error(seed, 1 / (1 + (drift / 0.02) ** 2)) / error(seed, None) for seed in range(20)]
    assert np.median(ratios) < 0.8
