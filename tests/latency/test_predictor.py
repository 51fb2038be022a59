import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from latency_fixtures import begun

import mosdeploy
from mosdeploy.errors import PredictorError, StaleInputError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.fitting import MIN_SAMPLES
from mosdeploy.latency.predictor import FitFacts, LatencyPredictor
from mosdeploy.latency.regression import choose
from mosdeploy.storage import fingerprint

SHIPPED = sorted((Path(mosdeploy.__file__).parents[1] / "predictors").glob("*/predictor.json"))


@pytest.fixture(scope="module")
def fit(spec):
    def call(rows, latency_ms, **options):
        facts = FitFacts(device="board")
        return LatencyPredictor.fit(spec, rows, latency_ms, facts=facts, **options)

    return call


@pytest.fixture(scope="module")
def crooked(draw, true_latency, fit):
    """A device whose caches overflow in wide networks: no sum over layers explains that."""
    genes = draw(400, seed=1)

    def latency(rows):
        return true_latency(rows) * np.where((rows[:, 0] > 40) & (rows[:, 1] > 40), 1.3, 1.0)

    return fit(genes, latency(genes)), latency


def worst_error(predictor, genes, latency_ms):
    return np.abs(predictor.predict(genes) / latency_ms - 1).max()


def test_thirty_noisy_samples_predict_within_one_percent(spec, true_latency, draw, fit):
    genes = spec.gene_rows(choose(spec, budget=30, seed=1))
    latency = true_latency(genes) * np.random.default_rng(0).normal(1, 0.003, 30)
    latency[[4, 12, 21]] *= [1.4, 1.3, 4.0]
    predictor = fit(genes, latency)
    unseen = draw(500, seed=9)
    assert np.abs(predictor.predict(unseen) / true_latency(unseen) - 1).mean() < 0.01
    assert predictor.card.num_samples == 30
    assert predictor.card.num_rejected >= 3
    assert predictor.card.within_10_percent == pytest.approx(90.0)
    assert predictor.card.trusted_mape_percent < 1 < predictor.card.mape_percent


def test_the_card_tells_the_error_on_unseen_rows(true_latency, draw, fit):
    genes, unseen = draw(60, seed=2), draw(2000, seed=3)
    rng = np.random.default_rng(4)
    predictor = fit(genes, true_latency(genes) * rng.lognormal(0, 0.03, 60))
    measured = true_latency(unseen) * rng.lognormal(0, 0.03, 2000)
    relative = np.abs(predictor.predict(unseen) / measured - 1)
    assert predictor.card.mape_percent == pytest.approx(100 * relative.mean(), rel=0.25)
    assert predictor.card.within_5_percent == pytest.approx(100 * (relative <= 0.05).mean(), abs=12)
    assert 0.8 < predictor.card.kendall_tau <= 1
    assert not predictor.card.uses_mlp


def test_the_interval_holds_about_nine_in_ten(spec, true_latency, draw, fit):
    genes, unseen = draw(100, seed=5), draw(2000, seed=6)
    rng = np.random.default_rng(7)
    predictor = fit(genes, true_latency(genes) * rng.lognormal(0, 0.04, 100))
    # as the attributes' documentation tells to work it out
    predicted = predictor.predict(unseen)
    used = [spec.space.feature_names.index(name) for name in predictor.coefficients]
    relative = spec.latency_features(unseen)[:, used] / predicted[:, None]
    leverage = ((relative @ np.array(predictor.covariance)) * relative).sum(axis=1)
    half = predictor.interval * np.sqrt(1 + leverage)
    np.testing.assert_allclose(predictor.half_width(unseen), half)
    measured = true_latency(unseen) * rng.lognormal(0, 0.04, 2000)
    assert 0.82 < (np.abs(np.log(measured / predicted)) <= half).mean() < 0.97


@pytest.mark.slow
def test_the_ensemble_stays_where_it_helps_and_only_there(crooked, true_latency, draw, fit):
    predictor, latency = crooked
    unseen = draw(500, seed=8)
    assert predictor.card.uses_mlp
    genes = draw(400, seed=1)
    without = fit(genes, latency(genes), try_mlp=False)
    mape = [np.abs(p.predict(unseen) / latency(unseen) - 1).mean() for p in (predictor, without)]
    assert mape[0] < 0.5 * mape[1]
    # the interval is that of what is kept
    assert predictor.interval < 0.5 * without.interval
    assert not fit(genes[:150], true_latency(genes[:150])).card.uses_mlp


def test_save_and_load_predict_the_same(crooked, draw, tmp_path):
    predictor, _ = crooked
    predictor.save(tmp_path / "predictor.json")
    loaded = LatencyPredictor.load(tmp_path / "predictor.json")
    genes = draw(100, seed=10)
    np.testing.assert_array_equal(loaded.predict(genes), predictor.predict(genes))
    assert loaded == predictor


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_predictor_loads_and_predicts(path):
    predictor = LatencyPredictor.load(path)
    space = predictor.space
    smallest, largest = predictor.predict(space.genes([space.smallest, space.largest]))
    assert 0 < smallest < largest
    assert predictor.card.space_sha256 == fingerprint(space)


def test_fitting_twice_gives_the_same_predictor(true_latency, draw, fit):
    genes = draw(40, seed=11)
    assert fit(genes, true_latency(genes)) == fit(genes, true_latency(genes))


def test_a_population_is_predicted_as_its_members_are(crooked, draw):
    genes = draw(50, seed=12)
    predictor, _ = crooked
    one_by_one = [predictor.predict(row[None])[0] for row in genes]
    np.testing.assert_allclose(predictor.predict(genes), one_by_one, rtol=1e-12)
    many = np.tile(genes, (700, 1))  # more than one chunk
    np.testing.assert_allclose(predictor.predict(many), np.tile(one_by_one, 700), rtol=1e-12)


def test_averages_serve_as_samples_too(space, true_latency, draw, fit):
    genes, unseen = draw(60, seed=13), draw(100, seed=14)
    predictor = fit(space.aggregate_genes(genes), true_latency(genes), encoding="aggregated")
    assert worst_error(predictor, unseen, true_latency(unseen)) < 0.01
    np.testing.assert_array_equal(
        predictor.predict_rows(space.aggregate_genes(unseen)), predictor.predict(unseen)
    )


def test_a_dataset_is_fitted_without_its_failures(
    spec, space, context, true_latency, draw, record, tmp_path
):
    dataset = begun(tmp_path / "latency.jsonl", context)
    genes = draw(20, seed=15)
    for row, ms in zip(genes, true_latency(genes), strict=True):
        dataset.append(record(space.from_genes(row), ms))
    dataset.append(record(space.largest, None))
    predictor = LatencyPredictor.fit_dataset(space, dataset)
    assert predictor.card.num_samples == 20
    assert predictor.card.dataset_sha256 == dataset.sha256
    assert predictor.card.runtime == "onnxruntime 1.20.0"
    predictor.check(spec, "board", "onnxruntime 1.99.0")
    with pytest.raises(PredictorError, match="runtime was onnxruntime, is tvm"):
        predictor.check(spec, "board", "tvm 0.27")


@pytest.fixture
def fit_with(space, context, true_latency, draw, record, tmp_path):
    """Fit twenty records, the last one of which was measured with another runtime."""
    genes = draw(20, seed=15)
    records = [
        record(space.from_genes(row), ms)
        for row, ms in zip(genes, true_latency(genes), strict=True)
    ]

    def call(last_runtime):
        dataset = begun(tmp_path / last_runtime / "latency.jsonl", context)
        for item in (*records[:-1], records[-1].model_copy(update={"runtime": last_runtime})):
            dataset.append(item)
        return LatencyPredictor.fit_dataset(space, dataset)

    return call


def test_records_of_two_runtimes_are_refused(fit_with):
    with pytest.raises(PredictorError, match=r"onnxruntime 1\.20\.0 and tvm 0\.27; move"):
        fit_with("tvm 0.27")


def test_records_of_two_minor_versions_are_refused(fit_with):
    assert fit_with("onnxruntime 1.20.3").card.runtime == "onnxruntime 1.20.0, onnxruntime 1.20.3"
    with pytest.raises(PredictorError, match=r"mixes .* 1\.20\.0 and onnxruntime 1\.21\.0; move"):
        fit_with("onnxruntime 1.21.0")


def test_an_emulated_device_is_refused(space, context, tmp_path):
    emulated = context.model_copy(
        update={"device": context.device.model_copy(update={"emulated": True})}
    )
    dataset = LatencyDataset.open(tmp_path / "latency.jsonl", emulated)
    with pytest.raises(PredictorError, match="emulated device"):
        LatencyPredictor.fit_dataset(space, dataset)


def test_a_dataset_of_another_space_is_refused(space, context, tmp_path):
    dataset = LatencyDataset.open(
        tmp_path / "latency.jsonl", context.model_copy(update={"space_sha256": "0" * 64})
    )
    with pytest.raises(StaleInputError, match="another search space"):
        LatencyPredictor.fit_dataset(space, dataset)


def test_measurements_whose_sessions_are_lost_are_refused(
    space, context, true_latency, draw, record, tmp_path
):
    dataset = begun(tmp_path / "latency.jsonl", context)
    genes = draw(20, seed=15)
    for row, ms in zip(genes, true_latency(genes), strict=True):
        dataset.append(record(space.from_genes(row), ms))
    LatencyPredictor.fit_dataset(space, dataset)
    (tmp_path / "sessions.jsonl").unlink()
    with pytest.raises(StaleInputError, match=r"20 subnets .* not in sessions\.jsonl"):
        LatencyPredictor.fit_dataset(space, LatencyDataset.load(dataset.path))


def test_too_few_samples_say_how_many_and_how(true_latency, draw, fit):
    genes = draw(MIN_SAMPLES - 1, seed=16)
    with pytest.raises(PredictorError, match=rf"^7 .*at least {MIN_SAMPLES} .*mosdeploy profile"):
        fit(genes, true_latency(genes))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_latency_that_is_no_time_is_refused(true_latency, draw, fit, value):
    genes = draw(20, seed=17)
    latency = true_latency(genes)
    latency[3] = value
    with pytest.raises(PredictorError, match=f"is {value} ms, not a positive number"):
        fit(genes, latency)


def test_what_it_was_not_fitted_for_is_refused(spec, space, true_latency, draw, fit):
    genes = draw(20, seed=19)
    predictor = fit(genes, true_latency(genes))
    predictor.check(spec, "board")
    other_space = space.model_copy(update={"encoder_heads": (2,)})
    for other, device, message in [
        (replace(spec, space=other_space), "board", "search space was"),
        (spec.with_workload(threads=2), "board", "workload.threads was 1, is 2"),
        # off, it is in no file
        (spec.with_workload(shortlist=9), "board", "workload.shortlist was 0, is 9"),
        (replace(spec, vocab_size=501), "board", "vocabulary size was 500, is 501"),
        (spec, "other", "device was board, is other"),
    ]:
        with pytest.raises(PredictorError, match=message):
            predictor.check(other, device)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("card"),
        lambda data: data.update(coefficients={}),
        lambda data: data["coefficients"].update(constant=float("nan")),
        lambda data: data["covariance"].pop(),
    ],
)
def test_a_damaged_file_is_refused(true_latency, draw, fit, tmp_path, damage):
    path = tmp_path / "predictor.json"
    genes = draw(20, seed=20)
    fit(genes, true_latency(genes)).save(path)
    data = json.loads(path.read_text())
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(StaleInputError, match=r"predictor\.json.*mosdeploy fit"):
        LatencyPredictor.load(path)


def test_a_missing_or_cut_file_is_refused(tmp_path):
    with pytest.raises(StaleInputError, match="does not exist; run `mosdeploy fit` first"):
        LatencyPredictor.load(tmp_path / "predictor.json")
    (tmp_path / "predictor.json").write_text('{"version": 1, "spa')
    with pytest.raises(StaleInputError, match="corrupt"):
        LatencyPredictor.load(tmp_path / "predictor.json")
