import numpy as np
import pytest
from mosdeploy.spaces.latency_features import NUM_CORE_FEATURES, latency_features, sums_from_genes

from mosdeploy.errors import PredictorError
from mosdeploy.latency.design import choose
from mosdeploy.spaces.translation import TranslationSpace

VOCAB_SIZE = 500


def test_a_larger_budget_begins_with_the_smaller_one(space, workload):
    short, long = (choose(space, workload, VOCAB_SIZE, budget, seed=3) for budget in (12, 30))
    assert long[:12] == short
    assert len(set(long)) == 30


def test_the_seed_decides(space, workload):
    first, again, other = (choose(space, workload, VOCAB_SIZE, 10, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_it_tells_the_coefficients_apart_better_than_chance(space, workload, draw):
    def log_volume(genes):
        columns = latency_features(
            sums_from_genes(space, genes), space.qkv_dim, workload, VOCAB_SIZE
        )[:, :NUM_CORE_FEATURES]
        return np.linalg.slogdet(columns.T @ columns)[1]

    designed = log_volume(space.genes(choose(space, workload, VOCAB_SIZE, 15, seed=4)))
    assert designed > max(log_volume(draw(15, seed=seed)) for seed in range(20))


def test_it_goes_on_from_what_was_measured(space, workload):
    measured = choose(space, workload, VOCAB_SIZE, 8, seed=5)
    further = choose(space, workload, VOCAB_SIZE, 8, seed=6, measured=measured)
    assert not set(measured) & set(further)
    assert further != choose(space, workload, VOCAB_SIZE, 8, seed=6)


def test_continuing_a_design_chooses_what_it_would_have_chosen(space, workload):
    whole = choose(space, workload, VOCAB_SIZE, 20, seed=7)
    assert choose(space, workload, VOCAB_SIZE, 8, seed=7, measured=whole[:12]) == whole[12:]


def test_a_space_smaller_than_the_budget_is_measured_whole(workload):
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
    assert len(choose(tiny, workload, VOCAB_SIZE, 30, seed=1)) == tiny.num_architectures == 4


def test_a_budget_of_nothing_is_refused(space, workload):
    with pytest.raises(PredictorError, match="a budget of 0"):
        choose(space, workload, VOCAB_SIZE, 0, seed=1)
