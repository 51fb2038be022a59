import numpy as np
import pytest
from example_spaces import WMT, space_of
from scipy.stats import kendalltau

from mosdeploy.errors import PredictorError
from mosdeploy.evaluation.predictor import MIN_SAMPLES, QualityPredictor
from mosdeploy.spaces.translation import TranslationSpace

SPACE = space_of(
    embed_dim=(96, 128),
    layers=(1, 2, 3),
    ffn_dim=(96, 192, 384),
    heads=(2, 4),
    qkv_dim=128,
    cross_span=(1, 2),
)


def draw(space, count, seed):
    rng = np.random.default_rng(seed)
    return space.genes([space.sample(rng) for _ in range(count)])


def loss_of(space, genes):
    """Width and depth help, the more of one the less the other does; heads hardly matter."""
    part = {
        name: genes[:, columns] / max(getattr(space, name))
        for name, columns in space.gene_slices.items()
    }
    encoder = part["encoder_embed_dim"][:, 0] * (1 + part["encoder_ffn_dim"].sum(1))
    size = encoder + part["decoder_ffn_dim"].sum(1)
    depth = part["decoder_layers"][:, 0] + 0.5 * part["encoder_layers"][:, 0]
    return 3.0 - 0.3 * depth - 0.3 * np.sqrt(size) + 0.02 * part["encoder_heads"].sum(1)


def fitted(space=SPACE, count=128, seed=1):
    genes = draw(space, count, seed)
    return QualityPredictor.fit(space, genes, loss_of(space, genes))


@pytest.fixture(scope="module")
def predictor():
    return fitted()


def test_it_ranks_subnets_that_it_has_not_seen(predictor):
    unseen = draw(SPACE, 500, 2)
    assert kendalltau(predictor.predict(unseen), loss_of(SPACE, unseen)).statistic > 0.9


def test_the_card_tells_what_unseen_subnets_would():
    genes = draw(SPACE, 128, 3)
    unseen = draw(SPACE, 2000, 4)
    rng = np.random.default_rng(6)
    noise = 0.1
    noisy = QualityPredictor.fit(SPACE, genes, loss_of(SPACE, genes) + rng.normal(0, noise, 128))
    truth = loss_of(SPACE, unseen) + rng.normal(0, noise, 2000)
    predicted = noisy.predict(unseen)
    assert noisy.card.num_samples == 128
    assert noisy.card.kendall_tau == pytest.approx(kendalltau(predicted, truth).statistic, abs=0.08)
    assert noisy.card.error == pytest.approx(np.abs(predicted - truth).mean(), rel=0.25)


def test_noise_alone_is_not_called_knowledge():
    noise = np.random.default_rng(8).normal(3, 1, 128)
    card = QualityPredictor.fit(SPACE, draw(SPACE, 128, 3), noise).card
    assert abs(card.kendall_tau) < 0.2


def test_fitting_twice_gives_the_same(predictor):
    assert fitted() == predictor


def test_a_shift_of_the_losses_shifts_the_predictions(predictor):
    genes = draw(SPACE, 128, 1)
    unseen = draw(SPACE, 100, 2)
    shifted = QualityPredictor.fit(SPACE, genes, loss_of(SPACE, genes) + 2.0)
    np.testing.assert_allclose(shifted.predict(unseen), predictor.predict(unseen) + 2.0, atol=5e-3)
    assert shifted.card.kendall_tau == pytest.approx(predictor.card.kendall_tau, abs=1e-3)


def test_a_population_is_predicted_as_its_members_are(predictor):
    genes = draw(SPACE, 20, 1)
    one_by_one = [predictor.predict(row[None])[0] for row in genes]
    np.testing.assert_allclose(predictor.predict(genes), one_by_one, rtol=1e-12)


def test_a_larger_space_will_do():
    unseen = draw(WMT, 500, 2)
    predicted = fitted(WMT, 256).predict(unseen)
    assert kendalltau(predicted, loss_of(WMT, unseen)).statistic > 0.8


def test_one_subnet_of_a_space_of_fixed_choices():
    fixed = dict.fromkeys(
        ("encoder_embed_dim", "decoder_embed_dim", "encoder_ffn_dim", "decoder_ffn_dim"), (16,)
    )
    heads = dict.fromkeys(("encoder_heads", "decoder_self_heads", "decoder_cross_heads"), (2,))
    space = TranslationSpace(**fixed, **heads, encoder_layers=(1,), decoder_layers=(1,), qkv_dim=16)
    genes = np.repeat(space.genes([space.largest]), MIN_SAMPLES, axis=0)
    predictor = QualityPredictor.fit(space, genes, np.full(MIN_SAMPLES, 2.5))
    np.testing.assert_allclose(predictor.predict(genes), 2.5)
    assert predictor.card.kendall_tau == 0.0


def test_too_few_losses_say_what_to_do():
    with pytest.raises(
        PredictorError, match=r"^15 losses are too few.*raise search\.quality_samples"
    ):
        fitted(count=MIN_SAMPLES - 1)
