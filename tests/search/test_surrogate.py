import dataclasses
import math

import numpy as np
import pytest
from search_problem import CONFIG, MEDIUM, Problem, num_parameters

from mosdeploy.errors import ConfigError, InfeasibleError, MosdeployError
from mosdeploy.records import Candidate, Limits
from mosdeploy.search import Evolution, evolve, evolve_predicted
from mosdeploy.search.evolution import with_candidates
from mosdeploy.search.surrogate import NUM_ROUNDS, _promising

LIMITS = Limits(max_latency_ms=12.0)
FEW = MEDIUM.model_copy(
    update={
        "encoder_layers": (1,),
        "decoder_layers": (1,),
        "encoder_heads": (2,),
        "decoder_self_heads": (2,),
        "decoder_cross_heads": (2,),
        "cross_span": (1,),
        "encoder_embed_dim": (32,),
        "decoder_embed_dim": (32,),
    }
)
"""Nine architectures."""


def run(problem, limits=LIMITS, progress=None, **changes):
    oracle = dataclasses.replace(problem.oracle, **changes)
    return evolve_predicted(problem.space, CONFIG, limits, oracle, problem.fit, progress)


def sample_of(problem, limits, **changes):
    """What is evaluated before anything is predicted."""

    def stop(genes, losses):
        raise KeyboardInterrupt

    oracle = dataclasses.replace(problem.oracle, **changes)
    with pytest.raises(KeyboardInterrupt):
        evolve_predicted(problem.space, CONFIG, limits, oracle, stop)
    return problem.asked


def test_each_loss_is_true_and_computed_once():
    problem = Problem(error=0.2)
    evolution = run(problem)
    assert len(problem.asked) == len(set(problem.asked)) == evolution.num_evaluated
    most = CONFIG.quality_samples + NUM_ROUNDS * CONFIG.parents
    assert evolution.num_evaluated <= most < evolution.num_predicted
    assert problem.incumbents == [None] * len(problem.asked)
    assert all(candidate.loss == problem.loss(candidate.arch) for candidate in evolution.ranked)
    assert all(candidate.predicted_ms <= 12.0 for candidate in evolution.ranked)
    assert [c.loss for c in evolution.ranked] == sorted(c.loss for c in evolution.ranked)


def test_a_seed_takes_the_same_way_in_every_version():
    best = run(Problem(error=0.2)).ranked[0]
    assert best.arch.key == "e2b9e67157897897"
    assert best.loss == pytest.approx(-1.4931114096337617)


def test_what_was_only_predicted_is_counted_once():
    problem = Problem()
    asked = set()

    def fit(genes, losses):
        problem.error += 0.2  # each round asks of others too
        predict = problem.fit(genes, losses)

        def noted(genes):
            asked.update(map(MEDIUM.from_genes, genes))
            return predict(genes)

        return noted

    evolution = evolve_predicted(MEDIUM, CONFIG, LIMITS, problem.oracle, fit)
    assert evolution.num_predicted == len(asked - evolution.evaluated)
    # what is evaluated after the search was not only predicted
    more = sorted(asked - evolution.evaluated, key=lambda arch: arch.key)[:3]
    later = with_candidates(evolution, [], more)
    assert later.num_predicted == evolution.num_predicted - 3


def test_half_of_a_round_are_the_best_and_half_go_below_the_limit():
    archs = list(dict.fromkeys(MEDIUM.sample(np.random.default_rng(i)) for i in range(7)))
    times = (12.0, 11.9, 11.8, 11.7, 11.6, 11.5, 10.5)
    ranked = tuple(
        Candidate(arch=arch, loss=float(i), predicted_ms=ms, num_parameters=1, size_bytes=1)
        for i, (arch, ms) in enumerate(zip(archs, times, strict=True))
    )
    guessed = Evolution(ranked, ranked, frozenset(archs))
    # without the first, which is known
    assert _promising(guessed, LIMITS, 4, archs[:1]) == [archs[i] for i in (1, 2, 3, 6)]


def test_a_perfect_predictor_finds_what_evaluating_all_finds():
    problem = Problem()
    whole = evolve(MEDIUM, CONFIG, LIMITS, Problem().oracle)
    found = run(problem)
    assert found.ranked[0] == whole.ranked[0]
    assert found.num_evaluated < whole.num_evaluated / 2


def test_every_round_learns_from_those_before():
    problem = Problem(error=0.2)
    run(problem)
    assert len(problem.fitted_on) == NUM_ROUNDS
    for earlier, later in zip(problem.fitted_on, problem.fitted_on[1:], strict=False):
        assert earlier < later


@pytest.mark.slow
def test_the_sample_does_not_depend_on_the_limits():
    first = Problem()
    second = Problem()
    run(first)
    run(second, Limits(max_parameters=60_000))
    assert first.asked[: CONFIG.quality_samples] == second.asked[: CONFIG.quality_samples]
    assert {MEDIUM.smallest, MEDIUM.largest} <= first.fitted_on[0]


def test_a_smallest_beyond_the_limit_changes_no_sample():
    def latency(arch):
        return 99.0 if arch == MEDIUM.smallest else 1.0

    first = sample_of(Problem(latency=latency), LIMITS)
    assert first == sample_of(Problem(latency=latency), Limits(max_parameters=60_000))


@pytest.mark.slow
def test_the_seed_and_the_callables_decide():
    assert run(Problem(error=0.1)) == run(Problem(error=0.1))


def test_progress_tells_every_round():
    seen = []
    evolution = run(Problem(error=0.2), progress=seen.append)
    assert [p.iteration for p in seen] == list(range(NUM_ROUNDS + 1))
    assert seen[-1].num_evaluated == evolution.num_evaluated
    assert seen[-1].best_loss == evolution.ranked[0].loss


def test_what_has_no_loss_is_not_learnt_from():
    problem = Problem()

    def some(archs, incumbents):
        return [None if len(arch.decoder_layers) == 1 else problem.loss(arch) for arch in archs]

    assert run(problem, Limits(max_parameters=90_000), losses=some).ranked
    assert all(len(arch.decoder_layers) > 1 for learnt in problem.fitted_on for arch in learnt)


def test_no_finite_loss_at_all_ends_the_search():
    with pytest.raises(MosdeployError, match=r"none of .* finite"):
        run(Problem(), losses=lambda archs, _: [math.nan] * len(archs))


def test_an_impossible_limit_evaluates_nothing():
    problem = Problem()
    with pytest.raises(InfeasibleError, match="max_parameters = 10 "):
        run(problem, Limits(max_parameters=10))
    with pytest.raises(ConfigError, match="needs a latency predictor"):
        run(problem, predict_ms=None)
    assert problem.asked == []


@pytest.mark.slow
def test_a_space_of_a_few_subnets_is_evaluated_whole():
    evolution = run(Problem(FEW), Limits(max_parameters=10**9))
    assert evolution.num_evaluated == FEW.num_architectures == 9


def test_too_few_subnets_to_predict_others_are_evaluated():
    problem = Problem(FEW)
    most = num_parameters(FEW, FEW.smallest)
    found = evolve_predicted(
        FEW, CONFIG, Limits(max_parameters=most), problem.oracle, problem.fit, min_samples=16
    )
    assert found.num_evaluated == FEW.num_architectures == len(problem.asked)
    assert found.num_predicted == 0 and problem.fitted_on == []
    assert [candidate.arch for candidate in found.ranked] == [FEW.smallest]
