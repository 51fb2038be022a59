import numpy as np
import pytest
from latency_fixtures import begun

from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import PredictorError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.predictor import (
    MIN_TRANSFER_SAMPLES,
    FitFacts,
    LatencyPredictor,
    fit_map,
    fit_transfer,
)
from mosdeploy.latency.regression import choose
from mosdeploy.storage import fingerprint

FACTS = FitFacts(device="a", runtime="eager")


@pytest.fixture(scope="module")
def source(spec, true_latency, draw):
    """A predictor of device A, which is known well."""
    genes = draw(100, seed=1)
    return LatencyPredictor.fit(spec, genes, true_latency(genes), facts=FACTS)


@pytest.fixture
def measure(spec, context, record, tmp_path):
    """A dataset of the first designed subnets on device B, whose latencies a function of gene rows
    tells.
    """

    def make(latency, count, seed=3):
        dataset = begun(tmp_path / f"b-{count}-{seed}" / "latency.jsonl", context)
        archs = choose(spec, count, seed=seed)
        for arch, ms in zip(archs, latency(spec.gene_rows(archs)), strict=True):
            dataset.append(record(arch, float(ms)))
        return dataset

    return make


@pytest.fixture(scope="module")
def unseen(draw):
    return draw(300, seed=2)


def layers(space, genes):
    return genes[:, space.gene_slices["decoder_layers"]].sum(axis=1)


def error_of(predictor, genes, latency_ms):
    return np.abs(predictor.predict(genes) / latency_ms - 1).mean()


def test_five_measurements_recover_a_scaled_device(space, source, true_latency, unseen, measure):
    noise = np.random.default_rng(0)
    dataset = measure(
        lambda genes: 2.5 * true_latency(genes) * noise.lognormal(0, 0.005, len(genes)), 5
    )
    predictor = fit_transfer(space, dataset, source)
    assert error_of(predictor, unseen, 2.5 * true_latency(unseen)) < 0.01
    trial = predictor.card.transfer
    assert (trial.source, trial.scratch_percent, trial.used) == ("a", None, True)
    assert trial.source_sha256 == fingerprint(source)
    assert predictor.device == predictor.card.device == "board"
    assert predictor.card.num_samples == 5
    assert predictor.card.runtime == "onnxruntime 1.20.0"


def test_an_offset_and_a_cost_a_layer_are_found_where_they_are(
    space, source, true_latency, unseen, measure
):
    def latency(genes):
        return 0.2 * true_latency(genes) + 3.0 + 5.0 * layers(space, genes)

    predictor = fit_transfer(space, measure(latency, 7), source)
    assert error_of(predictor, unseen, latency(unseen)) < 1e-3
    gained = predictor.coefficients["decoder_layers"] - 0.2 * source.coefficients["decoder_layers"]
    assert gained == pytest.approx(5.0, rel=0.01)


def test_one_busy_measurement_of_ten_does_little_harm(space, source, true_latency, unseen, measure):
    def latency(genes):
        clean = 2.0 * true_latency(genes) + 4.0
        return np.where(np.arange(len(genes)) == 4, 1.5 * clean, clean)

    predictor = fit_transfer(space, measure(latency, 10), source)
    assert predictor.card.transfer.used
    assert predictor.card.num_rejected == 1
    assert error_of(predictor, unseen, 2.0 * true_latency(unseen) + 4.0) < 0.01


def test_a_device_unlike_the_source_is_fitted_from_scratch(space, source, measure):
    def latency(genes):  # the decoder's width costs nothing, the encoder's everything
        return 5.0 + 0.01 * genes[:, space.gene_slices["encoder_ffn_dim"]].sum(axis=1)

    dataset = measure(latency, 30)
    predictor = fit_transfer(space, dataset, source)
    trial = predictor.card.transfer
    assert not trial.used
    assert trial.scratch_percent < trial.error_percent
    scratch = LatencyPredictor.fit_dataset(space, dataset)
    assert predictor.model_copy(update={"card": scratch.card}) == scratch


def test_the_smaller_error_decides_and_not_the_narrower_interval(
    space, source, true_latency, measure
):
    noise = np.random.default_rng(3).lognormal(0, 0.02, 10)

    def latency(genes):  # wide encoders take longer than on the source
        wide = genes[:, space.gene_slices["encoder_ffn_dim"]].sum(axis=1)
        return (true_latency(genes) + 0.005 * wide) * noise

    dataset = measure(latency, 10)
    predictor = fit_transfer(space, dataset, source)
    assert predictor.card.transfer.error_percent < predictor.card.transfer.scratch_percent
    assert predictor.interval > LatencyPredictor.fit_dataset(space, dataset).interval
    assert predictor.card.transfer.used


def test_the_ensemble_of_a_crooked_source_is_carried_over(
    spec, space, true_latency, draw, unseen, measure
):
    def latency(genes):
        return true_latency(genes) * np.where((genes[:, 0] > 40) & (genes[:, 1] > 40), 1.3, 1.0)

    genes = draw(400, seed=1)
    crooked = LatencyPredictor.fit(spec, genes, latency(genes), facts=FACTS)
    assert crooked.correction is not None
    predictor = fit_transfer(space, measure(lambda rows: 3.0 * latency(rows), 10), crooked)
    assert error_of(predictor, unseen, 3.0 * latency(unseen)) < 1.5 * error_of(
        crooked, unseen, latency(unseen)
    )


def test_corrected_features_add_up_to_the_prediction(spec, source, draw):
    genes = draw(20, seed=4)
    weights = np.array([source.coefficients.get(name, 0.0) for name in spec.space.feature_names])
    np.testing.assert_allclose(
        source.corrected_features(genes) @ weights, source.predict(genes), rtol=1e-12
    )


def test_hand_worked_map(spec, source, draw):
    """Twice the rest of the source, and overhead of its own."""
    genes = draw(8, seed=5)
    weights = np.array([source.coefficients.get(name, 0.0) for name in spec.space.feature_names])
    weights *= 2.0
    for name, cost_ms in zip(spec.space.overhead_features, (7.0, 0.5), strict=True):
        weights[spec.space.feature_names.index(name)] = cost_ms
    found = fit_map(source, genes, spec.latency_features(genes) @ weights)
    np.testing.assert_allclose(found.model.coefficients, weights, rtol=1e-6)
    # the trace of a hat matrix: the map has three coefficients, of however many features
    leverage = found.model.leverage(source.corrected_features(genes))
    assert leverage.sum() == pytest.approx(3.0, rel=1e-3)


def test_too_few_measurements_or_an_emulated_device_are_refused(
    space, context, source, true_latency, measure, tmp_path
):
    with pytest.raises(PredictorError, match=f"^4 .* least {MIN_TRANSFER_SAMPLES}"):
        fit_transfer(space, measure(true_latency, 4), source)
    device = DeviceProfile(name="board", host="board", emulated=True)
    emulated = LatencyDataset.open(
        tmp_path / "latency.jsonl", context.model_copy(update={"device": device})
    )
    with pytest.raises(PredictorError, match="emulated device"):
        fit_transfer(space, emulated, source)
