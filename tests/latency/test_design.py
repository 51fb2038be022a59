from dataclasses import replace

import numpy as np
import pytest

from mosdeploy.errors import PredictorError
from mosdeploy.latency.design import choose, choose_rows
from mosdeploy.spaces.translation import TranslationSpace


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
        features = spec.latency_features(genes)[:, : spec.num_core_features]
        return np.linalg.slogdet(features.T @ features)[1]

    designed = log_volume(spec.gene_rows(choose(spec, budget=15, seed=4)))
    assert designed > max(log_volume(draw(15, seed=seed)) for seed in range(20))


def test_a_space_smaller_than_the_budget_is_measured_whole(spec):
    tiny = TranslationSpace(
        encoder_embed_dim=(32,),
        decoder_embed_dim=(32,),
        encoder_layers=(1,),
        decoder_layers=(1, 2),
        encoder_ffn_dim=(64,),
        decoder_ffn_dim=(64,),
        encoder_heads=(2, 4),
        decoder_self_heads=(2,),
        decoder_cross_heads=(2,),
        qkv_dim=32,
    )
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


def test_a_budget_of_nothing_is_refused(spec):
    with pytest.raises(PredictorError, match="a budget of 0"):
        choose(spec, budget=0, seed=1)
