"""What cross-validation decides, on made-up latencies."""

from pathlib import Path

import numpy as np
import pytest
from command_line import run_python

from mosdeploy.latency.fitting import (
    HeldOutPredictions,
    Layer,
    MlpEnsemble,
    assess,
    cross_validate,
    fit_mlp,
    fit_model,
    folds_for,
    measure_errors,
)
from mosdeploy.latency.regression import NonNegativeModel, choose


def test_hand_worked_errors():
    measured = np.array([10.0, 10.0, 20.0, 40.0])
    found = measure_errors(np.array([10.0, 10.4, 18.5, 48.0]), measured)
    assert found.mape_percent == pytest.approx((0 + 4 + 7.5 + 20) / 4)
    assert found.within_5_percent == 50.0
    assert found.within_10_percent == 75.0
    # five of six pairs in order, one tied in the measurements
    assert found.kendall_tau == pytest.approx(5 / np.sqrt(6 * 5))


def test_few_rows_are_left_out_one_at_a_time():
    assert [len(held_out) for held_out in folds_for(40)] == [1] * 40
    assert len(folds_for(41)) == 10


def test_no_row_is_predicted_by_a_model_that_saw_it(spec, true_latency, draw):
    genes = draw(20, seed=1)
    features = spec.latency_features(genes)
    latency = true_latency(genes)
    found = []
    for factor in (1.0, 100.0):
        latency[7] = true_latency(genes)[7] * factor
        held_out = cross_validate(features, latency, folds_for(20), np.ones(20), num_features=9)
        found.append(held_out.predicted_ms[7])
    assert found[0] == found[1]


def test_all_features_are_used_where_they_help(spec, draw):
    """Latency in the secondary features alone: the core features cannot tell it."""
    genes = draw(80, seed=2)
    features = spec.latency_features(genes)
    secondary = 1.0 + features[:, spec.space.num_core_features :].sum(axis=1)
    core = features[:, : spec.space.num_core_features].sum(axis=1)
    rng = np.random.default_rng(0)

    def largest_used(latency_ms):
        noisy = latency_ms * rng.lognormal(0, 0.01, len(latency_ms))
        return max(fit_model(features, noisy, num_core=spec.space.num_core_features).model.used)

    assert largest_used(secondary) >= spec.space.num_core_features
    assert largest_used(core) < spec.space.num_core_features


def test_few_samples_use_only_the_core_features(spec, draw):
    features = spec.latency_features(draw(30, seed=3))
    secondary = 1.0 + features[:, spec.space.num_core_features :].sum(axis=1)
    found = fit_model(features, secondary, num_core=spec.space.num_core_features)
    assert max(found.model.used) < spec.space.num_core_features


@pytest.mark.parametrize("num_samples", [20, 60])
def test_what_has_little_weight_decides_nothing_though_it_is_most(num_samples):
    """Neither the model nor those of the folds, which choose between two features and one."""
    layers = np.arange(num_samples) % 5
    features = np.stack([np.ones(num_samples), layers], axis=1)
    slow = np.arange(num_samples) % 20 >= 8
    true_ms = 3.0 + 2.0 * layers
    latency_ms = np.where(slow, 1.1, 1.0) * true_ms
    found = fit_model(features, latency_ms, np.where(slow, 0.01, 1.0), num_core=2)
    np.testing.assert_allclose(found.model.predict(features), true_ms, rtol=5e-3)
    # held-out rows that count are predicted as they are, the others 9% off
    assert found.errors.within_5_percent == 40.0


def test_hand_worked_assessment():
    weights = np.array([1.0] * 9 + [0.0])
    model = NonNegativeModel(np.ones(1), weights, [0], np.zeros((1, 1)))
    # ten rows off by 1% to 9% and, rejected, by 100%
    off = np.array([*range(1, 10), 100]) / 100
    held_out = HeldOutPredictions(predicted_ms=10.0 * (1 + off), leverage=np.zeros(10))
    found = assess(model, None, held_out, np.full(10, 10.0), 1)
    assert found.errors.mape_percent == pytest.approx(14.5)
    assert found.trusted_mape_percent == pytest.approx(5.0)
    assert found.trimmed_percent == pytest.approx(5.0)
    # 1.860 of Student's distribution, for nine rows less one coefficient
    spread = np.sqrt(np.mean(np.log1p(off[:9]) ** 2))
    assert found.interval == pytest.approx(1.8595 * spread, rel=1e-4)
    # with one row alone that is off by much: nine of ten, the one to come included
    off[:8] = 0.01
    held_out = HeldOutPredictions(predicted_ms=10.0 * (1 + off), leverage=np.zeros(10))
    found = assess(model, None, held_out, np.full(10, 10.0), 1)
    assert found.interval == pytest.approx(np.log(1.09))


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [8, 10, 12, 20])
def test_the_interval_of_few_samples_holds_about_nine_in_ten(spec, true_latency, draw, num_samples):
    """Those that the design chooses, on a device whose noise is 3%: in the mean of 40 profiles."""
    genes = spec.gene_rows(choose(spec, num_samples, seed=1))
    unseen = draw(200, seed=2)
    rng = np.random.default_rng(3)
    held = []
    for _ in range(40):
        found = fit_model(
            spec.latency_features(genes),
            true_latency(genes) * rng.lognormal(0, 0.03, len(genes)),
            num_core=spec.space.num_core_features,
        )
        features = spec.latency_features(unseen)
        measured = true_latency(unseen) * rng.lognormal(0, 0.03, len(unseen))
        error = np.abs(np.log(measured / found.model.predict(features)))
        half = found.interval * np.sqrt(1 + found.model.leverage(features))
        held.append((error <= half).mean())
    assert 0.85 < np.mean(held) < 0.97


def test_the_rank_of_the_interval_counts_the_one_to_come():
    """Of 20 errors the 19th: nine in ten of twenty-one."""
    model = NonNegativeModel(np.ones(1), np.ones(20), [0], np.zeros((1, 1)))
    off = np.array([0.001] * 18 + [0.5, 0.6])
    held_out = HeldOutPredictions(predicted_ms=10.0 * (1 + off), leverage=np.zeros(20))
    found = assess(model, None, held_out, np.full(20, 10.0), 1)
    student = 1.7291 * np.sqrt(np.mean(np.log1p(off) ** 2))  # narrower
    assert student < found.interval == pytest.approx(np.log(1.5))
    # of a row whose variance is four times that of one without leverage, an error counts as half
    held_out = HeldOutPredictions(predicted_ms=10.0 * (1 + off), leverage=np.full(20, 3.0))
    found = assess(model, None, held_out, np.full(20, 10.0), 1)
    assert found.interval == pytest.approx(np.log(1.5) / 2)


def test_each_coefficient_leaves_one_row_less_over():
    """Ten rows and five coefficients: 2.015 of Student's distribution with five degrees."""
    model = NonNegativeModel(np.ones(1), np.ones(10), [0], np.zeros((1, 1)))
    off = np.arange(1.0, 11.0) / 100
    held_out = HeldOutPredictions(predicted_ms=10.0 * (1 + off), leverage=np.zeros(10))
    found = assess(model, None, held_out, np.full(10, 10.0), 5)
    spread = np.sqrt(np.mean(np.log1p(off) ** 2))
    assert found.interval == pytest.approx(2.0150 * spread, rel=1e-4)


def test_who_only_predicts_waits_for_no_statistics(tmp_path: Path) -> None:
    code = "import sys, mosdeploy.latency.predictor; print('scipy.stats' in sys.modules)"
    assert run_python("-c", code, cwd=tmp_path).stdout == "False\n"


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(60, 3)) * [1.0, 5.0, 0.1] + [0.0, 100.0, 0.0]


def test_a_bend_is_learned(features):
    residual = np.abs(features[:, 0])
    residual -= residual.mean()
    correction = fit_mlp(features, residual, weight_decay=0.01).predict(features)
    assert np.abs(correction - residual).mean() < 0.2 * np.abs(residual).mean()


def test_the_scale_of_a_feature_does_not_matter(features):
    residual = features[:, 0]
    wider = features * [1.0, 1.0, 1000.0]
    plain, scaled = (
        fit_mlp(rows, residual, weight_decay=1.0).predict(rows) for rows in (features, wider)
    )
    np.testing.assert_allclose(plain, scaled, rtol=1e-3, atol=1e-3)


def test_a_feature_whose_mean_is_off_in_the_last_digit_does_no_harm(features):
    # the mean of many 5/6 is not 5/6, and their deviation not 0
    constant = np.column_stack([features, np.full(len(features), 5 / 6)])
    ensemble = fit_mlp(constant, features[:, 0], weight_decay=1.0)
    elsewhere = constant.copy()
    elsewhere[:, -1] = 4 / 6
    moved = np.abs(ensemble.predict(elsewhere) - ensemble.predict(constant))
    assert moved.max() < np.ptp(features[:, 0])


def test_hand_worked_ensemble():
    hidden = Layer(weight=((1.0, -1.0),), bias=(0.0, 0.0))
    members = tuple(
        (hidden, Layer(weight=((slope,), (slope,)), bias=(0.0,))) for slope in (1.0, 3.0)
    )
    ensemble = MlpEnsemble(mean=(2.0,), deviation=(0.5,), output_scale=10.0, members=members)
    # standardised -2 and 2; the members compute slope * |x|: 2 and 6 times 10
    correction = ensemble.predict(np.array([[1.0], [3.0]]))
    assert correction.tolist() == [40.0, 40.0]
