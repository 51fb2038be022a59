import numpy as np
import pytest

from mosdeploy.latency.mlp import Layer, MlpEnsemble, fit_mlp
from mosdeploy.record import parse


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(60, 3)) * [1.0, 5.0, 0.1] + [0.0, 100.0, 0.0]


def test_a_bend_is_learned(features):
    residual = np.abs(features[:, 0])
    residual -= residual.mean()
    correction = fit_mlp(features, residual, weight_decay=0.01).predict(features)
    assert np.abs(correction - residual).mean() < 0.2 * np.abs(residual).mean()


def test_the_same_data_give_the_same_weights(features):
    first, again = (fit_mlp(features, features[:, 1], weight_decay=1.0) for _ in range(2))
    assert first == again


def test_the_scale_of_a_feature_does_not_matter(features):
    residual = features[:, 0]
    wider = features * [1.0, 1.0, 1000.0]
    plain, scaled = (
        fit_mlp(rows, residual, weight_decay=1.0).predict(rows) for rows in (features, wider)
    )
    np.testing.assert_allclose(plain, scaled, rtol=1e-3, atol=1e-3)


def test_a_feature_that_never_varies_does_no_harm(features):
    constant = np.column_stack([features, np.full(len(features), 7.0)])
    correction = fit_mlp(constant, features[:, 0], weight_decay=1.0).predict(constant)
    assert np.isfinite(correction).all()


def test_a_feature_whose_mean_is_off_in_the_last_digit_does_no_harm(features):
    # the mean of many 5/6 is not 5/6, and their deviation not 0
    constant = np.column_stack([features, np.full(len(features), 5 / 6)])
    ensemble = fit_mlp(constant, features[:, 0], weight_decay=1.0)
    elsewhere = constant.copy()
    elsewhere[:, -1] = 4 / 6
    moved = np.abs(ensemble.predict(elsewhere) - ensemble.predict(constant))
    assert moved.max() < np.ptp(features[:, 0])


def test_json_there_and_back(features):
    ensemble = fit_mlp(features, features[:, 0], weight_decay=1.0)
    assert parse(MlpEnsemble, ensemble.model_dump(mode="json"), "test") == ensemble


def test_hand_worked_ensemble():
    hidden = Layer(weight=((1.0, -1.0),), bias=(0.0, 0.0))
    members = tuple(
        (hidden, Layer(weight=((slope,), (slope,)), bias=(0.0,))) for slope in (1.0, 3.0)
    )
    ensemble = MlpEnsemble(mean=(2.0,), deviation=(0.5,), output_scale=10.0, members=members)
    # standardised -2 and 2; the members compute slope * |x|: 2 and 6 times 10
    correction = ensemble.predict(np.array([[1.0], [3.0]]))
    assert correction.tolist() == [40.0, 40.0]
