from dataclasses import replace

import numpy as np
import pytest
from example_spaces import space_of

from mosdeploy.latency.regression import _scale, choose, choose_rows, fit_nonnegative, independent


def worst_error(model, features, latency_ms):
    return np.abs(model.predict(features) / latency_ms - 1).max()


def test_the_truth_is_recovered_in_spite_of_outliers(spec, true_latency, draw):
    genes = draw(40, seed=1)
    unseen = draw(300, seed=2)
    latency = true_latency(genes)
    latency[[3, 11, 17, 30]] *= [1.4, 10.0, 1.3, 0.5]
    model = fit_nonnegative(spec.latency_features(genes), latency)
    assert np.flatnonzero(model.weights == 0).tolist() == [3, 11, 17, 30]
    assert worst_error(model, spec.latency_features(unseen), true_latency(unseen)) < 1e-3


def test_hand_worked_two_features():
    features = np.zeros((10, 15))
    features[:, 0] = 1.0
    features[:, 1] = np.arange(10)
    model = fit_nonnegative(features, 3.0 + 2.0 * np.arange(10), num_features=9)
    assert model.coefficients[:2] == pytest.approx([3.0, 2.0])
    assert model.used == [0, 1]
    np.testing.assert_allclose(model.weights, 1.0, atol=1e-3)


def test_coefficients_are_never_negative(spec, draw):
    latency = np.random.default_rng(0).lognormal(size=30)
    model = fit_nonnegative(spec.latency_features(draw(30, seed=3)), latency)
    assert (model.coefficients >= 0).all()


def test_no_more_features_are_used_than_allowed(spec, true_latency, draw):
    genes = draw(60, seed=4)
    features = spec.latency_features(genes)
    model = fit_nonnegative(features, true_latency(genes), num_features=4)
    assert max(model.used) < 4
    assert model.coefficients.shape == (len(spec.space.feature_names),)


def test_the_unit_of_time_does_not_matter(spec, true_latency, draw):
    genes = draw(30, seed=5)
    latency = true_latency(genes) * np.random.default_rng(1).normal(1, 0.02, 30)
    features = spec.latency_features(genes)
    in_ms, in_us = (
        fit_nonnegative(features, latency * unit, num_features=9) for unit in (1.0, 1000.0)
    )
    np.testing.assert_allclose(in_us.predict(features), 1000 * in_ms.predict(features), rtol=1e-6)


def test_leverage_grows_away_from_the_samples(spec, true_latency):
    rng = np.random.default_rng(0)
    drawn = [spec.space.sample(rng) for _ in range(400)]
    genes = spec.gene_rows([arch for arch in drawn if len(arch.decoder_layers) < 3][:40])
    features = spec.latency_features(genes)
    model = fit_nonnegative(features, true_latency(genes), num_features=9)
    inside = model.leverage(features)
    outside = model.leverage(spec.latency_features(spec.gene_rows([spec.space.largest])))
    assert outside[0] > 2 * np.median(inside)
    assert inside.sum() == pytest.approx(len(model.used), rel=0.2)  # the trace of a hat matrix


def test_a_sample_of_half_the_weight_counts_as_half_a_sample():
    features = np.zeros((3, 15))
    features[:, 0] = 1.0
    latency = np.array([1.0, 1.0, 1.01])
    model = fit_nonnegative(features, latency, np.array([1.0, 1.0, 0.5]))
    # relative errors c/l - 1, weighted least squares: c = sum(w/l) / sum(w/l^2), w = sample_weight
    # times Tukey's weight
    relative = model.weights / latency
    assert model.coefficients[0] == pytest.approx(relative.sum() / (relative / latency).sum())
    assert model.weights[2] <= 0.5


def test_a_noisy_sample_is_rejected_by_its_own_deviation_only():
    latency = np.array([0.98, 0.99, 0.99, 1.0, 1.0, 1.0, 1.01, 1.01, 1.02, 1.2])
    for weight, is_kept in ((0.01, True), (1.0, False)):
        model = fit_nonnegative(np.ones((10, 1)), latency, np.array([1.0] * 9 + [weight]))
        assert (model.weights[-1] > 0) == is_kept


def test_errors_that_the_fit_makes_vanish_are_no_noise():
    # of three coefficients two more errors are small than of one
    assert _scale(np.array([0.03, 0.0, 0.02, 0.0, 0.01]), 3) == pytest.approx(1.4826 * 0.02)


def test_a_rejected_sample_lowers_no_leverage():
    features = np.stack([np.ones(10), np.arange(10.0)], axis=1)
    latency = 3.0 + 2.0 * features[:, 1]
    latency[9] *= 10
    model, without = (fit_nonnegative(features[:n], latency[:n]) for n in (10, 9))
    assert model.weights[9] == 0
    np.testing.assert_allclose(model.leverage(features), without.leverage(features), rtol=1e-3)


def test_hand_worked_dependent_features():
    one = np.ones(4)
    layers = np.arange(1.0, 5.0)
    features = np.stack([one, np.zeros(4), layers, 2 * layers + one, layers**2], axis=1)
    assert independent(features) == [0, 2, 4]


def test_what_a_space_does_not_vary_is_left_out(spec):
    sizes = {"embed_dim": (64,), "layers": (2,), "ffn_dim": (128,), "heads": (2,), "qkv_dim": 32}
    fixed = space_of(**sizes, decoder_layers=(1, 2, 3), decoder_ffn_dim=(64, 128))
    rng = np.random.default_rng(0)
    genes = fixed.genes([fixed.sample(rng) for _ in range(100)])
    features = replace(spec, space=fixed).latency_features(genes)
    assert [spec.space.feature_names[i] for i in independent(features)] == [
        "constant",
        "decoder_layers",
        "decoder_ffn_macs",
    ]


def test_a_larger_budget_begins_with_the_smaller_one(spec):
    short, long = (choose(spec, budget, seed=3) for budget in (12, 30))
    assert long[:12] == short
    assert len(set(long)) == 30


def test_the_seed_decides(spec):
    first, again, other = (choose(spec, budget=10, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_it_tells_the_coefficients_apart_better_than_chance(spec, draw):
    def log_volume(genes):
        features = spec.latency_features(genes)[:, : spec.space.num_core_features]
        return np.linalg.slogdet(features.T @ features)[1]

    designed = log_volume(spec.gene_rows(choose(spec, budget=15, seed=4)))
    assert designed > max(log_volume(draw(15, seed=seed)) for seed in range(20))


def test_a_space_smaller_than_the_budget_is_measured_whole(spec):
    sizes = {"embed_dim": (32,), "layers": (1,), "ffn_dim": (64,), "heads": (2,), "qkv_dim": 32}
    tiny = space_of(**sizes, decoder_layers=(1, 2), encoder_heads=(2, 4))
    chosen = choose(replace(spec, space=tiny), budget=30, seed=1)
    assert len(chosen) == tiny.num_architectures == 4


def test_hand_worked_rows():
    # the only row of the second feature, then the longest of the first, then its equal; the short
    # one, which tells least, would be last
    features = np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    assert choose_rows(features, num_core=2, budget=3) == [3, 1, 2]


def test_both_ends_of_the_space_are_in_the_pool(spec):
    """Of millions a pool hardly draws them; the largest one tells the most."""
    ends = [choose(spec, budget=1, seed=seed)[0] for seed in range(3)]
    assert ends == [spec.space.largest] * 3
    assert spec.space.smallest in choose(spec, budget=300, seed=1)


def test_core_features_are_known_by_their_place_among_all():
    # the second is twice the first, and the third no core feature
    features = np.array([[1.0, 2.0, 0.0], [0.9, 1.8, 0.0], [0.0, 0.0, 1.0]])
    assert choose_rows(features, num_core=2, budget=3) == [0, 1, 2]
