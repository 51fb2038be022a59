from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from mosdeploy.config.translation import RunConfig
from mosdeploy.errors import PredictorError, StaleInputError
from mosdeploy.evaluation.predictor import MIN_SAMPLES, QualityPredictor
from mosdeploy.record import load_toml
from mosdeploy.spaces.translation import TranslationSpace

RECIPES = Path(__file__).parents[2] / "mosdeploy" / "recipes"


@pytest.fixture(scope="module")
def space():
    return load_toml(RunConfig, RECIPES / "tiny.toml").space


def draw(space, count, seed):
    rng = np.random.default_rng(seed)
    return space.genes([space.sample(rng) for _ in range(count)])


def loss_of(space, genes):
    """Width and depth help, the more of one the less the other does; heads hardly matter."""
    part = {
        name: genes[:, columns] / max(getattr(space, name))
        for name, columns in space.gene_slices.items()
    }
    size = part["encoder_embed_dim"][:, 0] * (1 + part["encoder_ffn_dim"].sum(1)) + part[
        "decoder_ffn_dim"
    ].sum(1)
    depth = part["decoder_layers"][:, 0] + 0.5 * part["encoder_layers"][:, 0]
    return 3.0 - 0.3 * depth - 0.3 * np.sqrt(size) + 0.02 * part["encoder_heads"].sum(1)


def fit(space, genes, losses):
    return QualityPredictor.fit(space, genes, losses, "net")


def test_it_ranks_subnets_that_it_has_not_seen(space):
    genes, unseen = draw(space, 128, 1), draw(space, 500, 2)
    predictor = fit(space, genes, loss_of(space, genes))
    assert kendalltau(predictor.predict(unseen), loss_of(space, unseen)).statistic > 0.9


def test_the_card_tells_what_unseen_subnets_would(space):
    genes, unseen = draw(space, 128, 3), draw(space, 2000, 4)
    rng = np.random.default_rng(6)
    noise = 0.1
    predictor = fit(space, genes, loss_of(space, genes) + rng.normal(0, noise, 128))
    truth = loss_of(space, unseen) + rng.normal(0, noise, 2000)
    assert predictor.card.num_samples == 128
    assert predictor.card.kendall_tau == pytest.approx(
        kendalltau(predictor.predict(unseen), truth).statistic, abs=0.08
    )
    assert predictor.card.error == pytest.approx(
        np.abs(predictor.predict(unseen) - truth).mean(), rel=0.25
    )


def test_noise_alone_is_not_called_knowledge(space):
    genes = draw(space, 128, 3)
    assert abs(fit(space, genes, np.random.default_rng(8).normal(3, 1, 128)).card.kendall_tau) < 0.2


def test_save_and_load_predict_the_same(space, tmp_path):
    genes = draw(space, 128, 1)
    predictor = fit(space, genes, loss_of(space, genes))
    predictor.save(tmp_path / "quality_predictor.json")
    loaded = QualityPredictor.load(tmp_path / "quality_predictor.json")
    assert loaded == predictor
    np.testing.assert_array_equal(loaded.predict(genes), predictor.predict(genes))
    with pytest.raises(StaleInputError, match="mosdeploy search"):
        QualityPredictor.load(tmp_path / "none.json")


def test_fitting_twice_gives_the_same_and_a_shift_of_the_losses_shifts_the_predictions(space):
    genes, unseen = draw(space, 128, 1), draw(space, 100, 2)
    predictor = fit(space, genes, loss_of(space, genes))
    assert fit(space, genes, loss_of(space, genes)) == predictor
    shifted = fit(space, genes, loss_of(space, genes) + 2.0)
    np.testing.assert_allclose(shifted.predict(unseen), predictor.predict(unseen) + 2.0, atol=5e-3)
    assert shifted.card.kendall_tau == pytest.approx(predictor.card.kendall_tau, abs=1e-3)


def test_a_population_is_predicted_as_its_members_are(space):
    genes = draw(space, 256, 1)
    predictor = fit(space, genes, loss_of(space, genes))
    one_by_one = [predictor.predict(row[None])[0] for row in genes[:20]]
    np.testing.assert_allclose(predictor.predict(genes)[:20], one_by_one, rtol=1e-12)


def test_any_space_will_do():
    space = load_toml(RunConfig, RECIPES / "wmt14.en-de.toml").space
    genes, unseen = draw(space, 256, 1), draw(space, 500, 2)
    predictor = fit(space, genes, loss_of(space, genes))
    assert kendalltau(predictor.predict(unseen), loss_of(space, unseen)).statistic > 0.8


def test_one_subnet_of_a_space_of_fixed_choices():
    fixed = dict.fromkeys(
        ("encoder_embed_dim", "decoder_embed_dim", "encoder_ffn_dim", "decoder_ffn_dim"), (16,)
    )
    heads = dict.fromkeys(("encoder_heads", "decoder_self_heads", "decoder_cross_heads"), (2,))
    space = TranslationSpace(**fixed, **heads, encoder_layers=(1,), decoder_layers=(1,), qkv_dim=16)
    genes = np.repeat(space.genes([space.largest]), MIN_SAMPLES, axis=0)
    predictor = fit(space, genes, np.full(MIN_SAMPLES, 2.5))
    np.testing.assert_allclose(predictor.predict(genes), 2.5)
    assert predictor.card.kendall_tau == 0.0


def test_too_few_losses_say_what_to_do(space):
    genes = draw(space, MIN_SAMPLES - 1, 1)
    with pytest.raises(
        PredictorError, match=r"^15 losses are too few.*raise search\.quality_samples"
    ):
        fit(space, genes, loss_of(space, genes))
