import math
from pathlib import Path

import numpy as np
import pytest

from mosdeploy.config.sections import SearchConfig
from mosdeploy.config.translation import RunConfig
from mosdeploy.errors import ConfigError, InfeasibleError, MosdeployError
from mosdeploy.record import load_toml
from mosdeploy.records import Limits
from mosdeploy.search import Cost, evolve, evolve_predicted
from mosdeploy.search.surrogate import ROUNDS
from mosdeploy.spaces.costs import num_macs, num_parameters

VOCAB_SIZE = 100
CONFIG = SearchConfig(
    population=30, parents=8, mutations=12, crossovers=12, iterations=6, quality_samples=24
)


@pytest.fixture(scope="module")
def space():
    return load_toml(
        RunConfig, Path(__file__).parents[2] / "mosdeploy" / "recipes" / "tiny.toml"
    ).space


class Problem:
    """Losses worked out from the architecture, and a predictor that knows them up to an error of
    its own.
    """

    def __init__(self, space, error=0.0):
        self.space, self.error, self.asked, self.fitted_on = space, error, [], []

    def loss(self, arch):
        return (
            10
            - math.log(num_parameters(self.space, arch, VOCAB_SIZE))
            + 0.1 * arch.encoder_layers[0].heads
        )

    def losses(self, archs, incumbents):
        assert incumbents == [None] * len(archs)
        self.asked += archs
        return map(self.loss, archs)

    def fit(self, genes, losses):
        archs = [self.space.from_genes(row) for row in genes]
        assert list(losses) == [self.loss(arch) for arch in archs]
        self.fitted_on.append(set(archs))

        def predict(genes):
            archs = [self.space.from_genes(row) for row in genes]
            return np.array([self.loss(a) + self.error * math.sin(int(a.key, 16)) for a in archs])

        return predict

    def cost(self, arch):
        weights = num_parameters(self.space, arch, VOCAB_SIZE)
        return Cost(weights, 4 * weights)

    def predict_ms(self, genes):
        return np.array(
            [
                num_macs(self.space, self.space.from_genes(row), VOCAB_SIZE, 10, 10) / 1e5
                for row in genes
            ]
        )

    def search(self, limits, config=CONFIG, **options):
        tools = {
            "losses": self.losses,
            "fit": self.fit,
            "cost": self.cost,
            "predict_ms": self.predict_ms,
        } | options
        return evolve_predicted(self.space, config, limits, **tools)


LIMITS = Limits(max_latency_ms=60.0)


def test_each_loss_is_true_and_paid_for_once(space):
    problem = Problem(space, error=0.2)
    evolution = problem.search(LIMITS)
    assert len(problem.asked) == len(set(problem.asked)) == evolution.num_evaluated
    assert (
        evolution.num_evaluated
        <= CONFIG.quality_samples + ROUNDS * CONFIG.parents
        < evolution.num_predicted
    )
    assert all(candidate.loss == problem.loss(candidate.arch) for candidate in evolution.ranked)
    assert all(candidate.predicted_ms <= 60.0 for candidate in evolution.ranked)
    assert [c.loss for c in evolution.ranked] == sorted(c.loss for c in evolution.ranked)


def test_a_perfect_predictor_finds_what_evaluating_each_candidate_finds(space):
    problem = Problem(space)
    whole = evolve(
        space,
        CONFIG,
        LIMITS,
        losses=lambda archs, _: map(problem.loss, archs),
        cost=problem.cost,
        predict_ms=problem.predict_ms,
    )
    found = problem.search(LIMITS)
    assert found.ranked[0] == whole.ranked[0]
    assert found.num_evaluated < whole.num_evaluated / 2


def test_every_round_learns_from_what_the_one_before_evaluated(space):
    problem = Problem(space, error=0.2)
    problem.search(LIMITS)
    assert len(problem.fitted_on) == ROUNDS
    for earlier, later in zip(problem.fitted_on, problem.fitted_on[1:], strict=False):
        assert earlier < later


def test_the_sample_does_not_depend_on_the_limits(space):
    first, second = Problem(space), Problem(space)
    first.search(LIMITS)
    second.search(Limits(max_parameters=400_000))
    assert first.asked[: CONFIG.quality_samples] == second.asked[: CONFIG.quality_samples]
    assert {space.smallest, space.largest} <= first.fitted_on[0]


def test_the_seed_and_the_callables_decide(space):
    assert Problem(space, 0.1).search(LIMITS) == Problem(space, 0.1).search(LIMITS)


def test_progress_tells_every_round(space):
    seen = []
    evolution = Problem(space, 0.2).search(LIMITS, progress=seen.append)
    assert [p.iteration for p in seen] == list(range(ROUNDS + 1))
    assert seen[-1].num_evaluated == evolution.num_evaluated
    assert seen[-1].best_loss == evolution.ranked[0].loss


def test_what_has_no_loss_is_not_learnt_from(space):
    problem = Problem(space)

    def some(archs, incumbents):
        return [None if len(arch.decoder_layers) == 1 else problem.loss(arch) for arch in archs]

    evolution = problem.search(Limits(max_parameters=600_000), losses=some)
    assert evolution.ranked
    assert all(len(arch.decoder_layers) > 1 for learnt in problem.fitted_on for arch in learnt)
    with pytest.raises(MosdeployError, match=r"none of .* finite"):
        problem.search(LIMITS, losses=lambda archs, _: [math.nan] * len(archs))


def test_an_impossible_limit_costs_nothing(space):
    problem = Problem(space)
    with pytest.raises(InfeasibleError, match="max_parameters = 10 "):
        problem.search(Limits(max_parameters=10))
    with pytest.raises(ConfigError, match="needs a latency predictor"):
        problem.search(LIMITS, predict_ms=None)
    assert problem.asked == []


def test_a_space_of_a_few_subnets_is_evaluated_whole(space):
    small = space.model_copy(
        update={
            "encoder_layers": (1,),
            "decoder_layers": (1,),
            "encoder_heads": (2,),
            "decoder_self_heads": (2,),
            "decoder_cross_heads": (2,),
            "cross_span": (1,),
            "encoder_embed_dim": (128,),
            "decoder_embed_dim": (128,),
        }
    )
    problem = Problem(small)
    evolution = problem.search(Limits(max_parameters=10**9))
    assert evolution.num_evaluated == small.num_architectures == 9
