from pathlib import Path

import numpy as np
import pytest
from example_spaces import space_of

from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import PredictorError
from mosdeploy.families.translation.hat import fit_hat, read_hat
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.design import choose
from mosdeploy.latency.fitting import measure_errors
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.latency.transfer import MIN_TRANSFER_SAMPLES, fit_map, fit_transfer
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import fingerprint

VOCAB_SIZE = 500
PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "hat"


@pytest.fixture(scope="module")
def source(space, workload, true_latency, draw):
    """A predictor of device A, which is known well."""
    genes = draw(100, seed=1)
    return LatencyPredictor.fit(
        space, workload, VOCAB_SIZE, genes, true_latency(genes), device="a", runtime="eager"
    )


@pytest.fixture
def measure(space, workload, context, record, tmp_path):
    """A dataset of the first designed subnets on device B, whose latencies a function of gene rows
    tells.
    """

    def make(latency, count, seed=3):
        dataset = LatencyDataset.open(tmp_path / f"b-{count}-{seed}" / "latency.jsonl", context)
        archs = choose(space, workload, VOCAB_SIZE, count, seed=seed)
        for arch, ms in zip(archs, latency(space.genes(archs)), strict=True):
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


def test_five_measurements_recover_a_device_that_is_a_scaled_other_one_in_spite_of_noise(
    space, source, true_latency, unseen, measure
):
    noise = np.random.default_rng(0)
    dataset = measure(
        lambda genes: 2.5 * true_latency(genes) * noise.lognormal(0, 0.005, len(genes)), 5
    )
    predictor = fit_transfer(space, dataset, source)
    assert error_of(predictor, unseen, 2.5 * true_latency(unseen)) < 0.01
    trial = predictor.card.transfer
    assert (trial.source, trial.scratch_percent, trial.used) == ("a", None, True)
    assert trial.source_sha256 == fingerprint(source)
    assert (predictor.device, predictor.card.device, predictor.card.num_samples) == (
        "board",
        "board",
        5,
    )
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


def test_the_ensemble_of_a_crooked_source_is_carried_over(
    space, workload, true_latency, draw, unseen, measure
):
    def latency(genes):
        return true_latency(genes) * np.where((genes[:, 0] > 40) & (genes[:, 1] > 40), 1.3, 1.0)

    genes = draw(400, seed=1)
    crooked = LatencyPredictor.fit(space, workload, VOCAB_SIZE, genes, latency(genes), device="a")
    assert crooked.correction is not None
    predictor = fit_transfer(space, measure(lambda rows: 3.0 * latency(rows), 10), crooked)
    assert error_of(predictor, unseen, 3.0 * latency(unseen)) < 1.5 * error_of(
        crooked, unseen, latency(unseen)
    )


def test_corrected_columns_add_up_to_the_prediction(source, draw):
    genes = draw(20, seed=4)
    weights = np.zeros(15)
    weights[source._used] = list(source.coefficients.values())
    np.testing.assert_allclose(
        source.corrected_columns(genes) @ weights, source.predict(genes), rtol=1e-12
    )


def test_the_interval_of_a_corrected_predictor_holds_about_nine_in_ten(
    space, source, true_latency, draw, measure
):
    rng = np.random.default_rng(5)
    dataset = measure(
        lambda genes: 2 * true_latency(genes) * rng.lognormal(0, 0.03, len(genes)), 20
    )
    unseen = draw(2000, seed=6)
    low, high = fit_transfer(space, dataset, source).predict_interval(unseen)
    measured = 2 * true_latency(unseen) * rng.lognormal(0, 0.03, 2000)
    assert 0.8 < ((low <= measured) & (measured <= high)).mean() < 0.99


def test_too_few_measurements_and_an_emulated_device_are_refused(
    space, context, source, true_latency, measure, tmp_path
):
    with pytest.raises(
        PredictorError, match=f"^4 measured subnets are too few .* least {MIN_TRANSFER_SAMPLES}"
    ):
        fit_transfer(space, measure(true_latency, 4), source)
    device = DeviceProfile(name="board", host="board", emulated=True)
    emulated = LatencyDataset.open(
        tmp_path / "latency.jsonl", context.model_copy(update={"device": device})
    )
    with pytest.raises(PredictorError, match="emulated device"):
        fit_transfer(space, emulated, source)


def test_save_and_load_keep_a_corrected_predictor(space, source, true_latency, measure, tmp_path):
    predictor = fit_transfer(space, measure(true_latency, 6), source)
    predictor.save(tmp_path / "predictor.json")
    assert LatencyPredictor.load(tmp_path / "predictor.json") == predictor


@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="HAT's published data are not beside the checkout"
)
def test_ten_rows_of_a_gpu_correct_the_predictor_of_a_raspberry_pi():
    space = space_of(
        embed_dim=(512, 640),
        layers=(1, 2, 3, 4, 5, 6),
        ffn_dim=(512, 1024, 2048, 3072),
        heads=(2, 4, 8),
        qkv_dim=512,
        encoder_layers=(6,),
        cross_span=(1, 2, 3),
    )
    pi, gpu = (
        read_hat(PUBLISHED / f"wmt14ende_{name}.csv") for name in ("cpu_raspberrypi", "gpu_titanxp")
    )
    source = fit_hat(
        pi[:1400], space, TranslationWorkload(beam=5), 32768, device="rpi", try_mlp=False
    )
    columns, errors = source.corrected_columns(gpu.rows[1600:]), []
    for seed in range(20):
        rows = np.random.default_rng(seed).choice(np.arange(14, 1263), 10, replace=False)
        fitted = fit_map(source, gpu.rows[rows], gpu.latency_ms[rows])
        errors.append(
            measure_errors(fitted.model.predict(columns), gpu.latency_ms[1600:]).mape_percent
        )
    assert np.median(errors) < 2.9  # from scratch, ten designed rows give 2.4, ten random ones 3.1
