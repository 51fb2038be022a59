import itertools
import math

import numpy as np
import pytest
from example_spaces import space_of

from mosdeploy.config.sections import SearchConfig
from mosdeploy.errors import ConfigError, InfeasibleError
from mosdeploy.records import Candidate, Limits
from mosdeploy.search import Cost, choose_winner, evolve, finalists, pareto_front
from mosdeploy.spaces.costs import num_macs, num_parameters
from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
)

VOCAB_SIZE = 100
CONFIG = SearchConfig(population=30, parents=8, mutations=12, crossovers=12, iterations=6)


@pytest.fixture(scope="module")
def space():
    return space_of(
        embed_dim=(32, 64),
        layers=(1, 2, 3),
        ffn_dim=(64, 128, 256),
        heads=(2, 4),
        qkv_dim=32,
        cross_span=(1, 2),
    )


@pytest.fixture(scope="module")
def tiny():
    """Small enough to look at every architecture."""
    return space_of(
        embed_dim=(32, 64),
        layers=(1, 2),
        ffn_dim=(64,),
        heads=(2, 4),
        qkv_dim=32,
        encoder_ffn_dim=(64, 128),
        encoder_heads=(2,),
        decoder_cross_heads=(2,),
        cross_span=(1, 2),
    )


def everything(space):
    layers_e = [
        EncoderLayerConfig(ffn_dim=f, heads=h)
        for f in space.encoder_ffn_dim
        for h in space.encoder_heads
    ]
    layers_d = [
        DecoderLayerConfig(ffn_dim=f, self_heads=s, cross_heads=c, cross_span=n)
        for f in space.decoder_ffn_dim
        for s in space.decoder_self_heads
        for c in space.decoder_cross_heads
        for n in space.cross_span
    ]
    for e, d, n, m in itertools.product(
        space.encoder_embed_dim, space.decoder_embed_dim, space.encoder_layers, space.decoder_layers
    ):
        for encoder in itertools.product(layers_e, repeat=n):
            for decoder in itertools.product(layers_d, repeat=m):
                if all(layer.cross_span <= n for layer in decoder):
                    yield TranslationArch(
                        encoder_embed_dim=e,
                        decoder_embed_dim=d,
                        encoder_layers=encoder,
                        decoder_layers=decoder,
                    )


class Problem:
    """A search with costs that are worked out from the architecture, counting what is asked."""

    def __init__(self, space, latency=None):
        self.space, self.calls = space, []
        self.latency = latency or (lambda arch: num_macs(space, arch, VOCAB_SIZE, 10, 10) / 1e5)

    def loss(self, arch):
        self.calls.append(arch)
        return (
            10
            - math.log(num_parameters(self.space, arch, VOCAB_SIZE))
            + 0.1 * arch.encoder_layers[0].heads
        )

    def losses(self, archs, incumbents):
        yield from map(self.loss, archs)

    def cost(self, arch):
        weights = num_parameters(self.space, arch, VOCAB_SIZE)
        return Cost(num_parameters=weights, size_bytes=4 * weights + 1000)

    def predict_ms(self, genes):
        return np.array([self.latency(self.space.from_genes(row)) for row in genes])

    def evolve(self, limits=None, config=CONFIG, **options):
        return evolve(
            self.space,
            config,
            limits or Limits(),
            losses=self.losses,
            cost=self.cost,
            predict_ms=self.predict_ms,
            **options,
        )


def test_each_architecture_is_evaluated_once(space):
    problem = Problem(space)
    evolution = problem.evolve()
    assert len(problem.calls) == len(set(problem.calls)) == evolution.num_evaluated
    assert 150 < evolution.num_evaluated <= 30 + 6 * 24


def test_all_limits_are_kept_by_everything_that_is_evaluated(space):
    problem = Problem(space)
    limits = Limits(max_latency_ms=12.0, max_parameters=90_000, max_size_bytes=350_000)
    evolution = problem.evolve(limits)
    assert evolution.num_evaluated > 100
    for candidate in evolution.ranked:
        assert candidate.predicted_ms == problem.latency(candidate.arch) <= 12.0
        assert candidate.num_parameters <= 90_000
        assert candidate.size_bytes == 4 * candidate.num_parameters + 1000 <= 350_000


def test_candidates_are_ranked_by_loss_and_better_than_chance(space):
    problem = Problem(space)
    evolution = problem.evolve(Limits(max_latency_ms=12.0))
    losses = [candidate.loss for candidate in evolution.ranked]
    assert losses == sorted(losses)
    rng = np.random.default_rng(5)
    drawn = [
        arch for arch in (space.sample(rng) for _ in range(2000)) if problem.latency(arch) <= 12.0
    ]
    assert losses[0] < min(problem.loss(arch) for arch in drawn[: evolution.num_evaluated])


def test_it_finds_the_best_of_a_tiny_space(tiny):
    problem = Problem(tiny)
    limits = Limits(max_parameters=40_000)
    best = min(
        (
            problem.loss(arch)
            for arch in everything(tiny)
            if num_parameters(tiny, arch, VOCAB_SIZE) <= 40_000
        ),
    )
    assert problem.evolve(limits).ranked[0].loss == best


def test_a_tiny_space_is_exhausted_without_waiting(tiny):
    small = TranslationSpace(
        **{**tiny.model_dump(), "decoder_layers": (1,), "encoder_layers": (1,), "cross_span": (1,)}
    )
    problem = Problem(small)
    assert problem.evolve().num_evaluated == small.num_architectures == 16


def test_the_seed_and_the_callables_decide(space):
    first, again = (Problem(space).evolve(Limits(max_latency_ms=12.0)) for _ in range(2))
    assert first == again
    other = Problem(space).evolve(
        Limits(max_latency_ms=12.0), config=CONFIG.model_copy(update={"seed": 2})
    )
    assert {c.arch for c in other.ranked} != {c.arch for c in first.ranked}


def test_progress_tells_every_iteration(space):
    seen = []
    evolution = Problem(space).evolve(progress=seen.append)
    assert [p.iteration for p in seen] == list(range(CONFIG.iterations + 1))
    assert [p.best_loss for p in seen] == sorted((p.best_loss for p in seen), reverse=True)
    assert seen[-1].num_evaluated == evolution.num_evaluated
    assert seen[-1].best_loss == evolution.ranked[0].loss


def test_a_loss_that_is_not_finite_is_counted_and_forgotten(space):
    problem = Problem(space)
    evolution = evolve(
        space,
        CONFIG,
        Limits(),
        losses=lambda archs, _: [
            math.nan if len(a.decoder_layers) == 3 else problem.loss(a) for a in archs
        ],
        cost=problem.cost,
    )
    assert evolution.ranked
    assert all(len(c.arch.decoder_layers) < 3 and c.predicted_ms is None for c in evolution.ranked)
    assert evolution.num_evaluated > len(evolution.ranked)


def test_a_narrow_limit_still_fills_the_population(space):
    problem = Problem(space)
    fastest = problem.latency(space.smallest)
    evolution = problem.evolve(Limits(max_latency_ms=1.3 * fastest))
    assert evolution.num_evaluated > 20
    assert evolution.ranked[0].predicted_ms <= 1.3 * fastest


# -- infeasible ------------------------------------------------------------------------------------
# -----------------


def test_an_impossible_latency_ends_and_names_the_true_minimum(tiny):
    problem = Problem(tiny)
    fastest = min(problem.latency(arch) for arch in everything(tiny))
    with pytest.raises(
        InfeasibleError, match=rf"max_latency_ms = 0\.5 \(least found: {fastest:.6g}\)"
    ) as error:
        problem.evolve(Limits(max_latency_ms=0.5))
    assert error.value.fastest_latency_ms == pytest.approx(fastest)
    assert problem.calls == []


def test_a_limit_that_the_smallest_breaks_is_met_by_descent(tiny):
    def crooked(arch):  # narrow networks are slow on this device
        return (
            100.0 / arch.encoder_embed_dim
            + 50.0 / arch.encoder_layers[0].ffn_dim
            + len(arch.decoder_layers)
        )

    fastest = min(crooked(arch) for arch in everything(tiny))
    problem = Problem(tiny, crooked)
    assert crooked(tiny.smallest) > fastest
    evolution = problem.evolve(Limits(max_latency_ms=fastest * 1.0001))
    assert evolution.ranked[0].predicted_ms == pytest.approx(fastest)


def test_each_limit_can_be_possible_and_all_together_not(tiny):
    def crooked(arch):  # only large networks are fast
        return 1e6 / num_parameters(tiny, arch, VOCAB_SIZE)

    weights = [num_parameters(tiny, arch, VOCAB_SIZE) for arch in everything(tiny)]
    fastest = 1e6 / max(weights)
    limits = Limits(max_latency_ms=fastest, max_parameters=min(weights))
    with pytest.raises(
        InfeasibleError, match=rf"least found: {min(weights):.6g}\) together"
    ) as error:
        Problem(tiny, crooked).evolve(limits)
    assert error.value.fastest_latency_ms == pytest.approx(fastest)


def test_too_few_parameters_name_the_least(tiny):
    least = min(num_parameters(tiny, arch, VOCAB_SIZE) for arch in everything(tiny))
    with pytest.raises(
        InfeasibleError, match=rf"max_parameters = 10 \(least found: {least:.6g}\)"
    ) as error:
        Problem(tiny).evolve(Limits(max_parameters=10))
    assert error.value.fastest_latency_ms is None


def test_a_latency_limit_without_a_predictor_is_refused(space):
    problem = Problem(space)
    with pytest.raises(ConfigError, match="needs a latency predictor"):
        evolve(space, CONFIG, Limits(max_latency_ms=1.0), losses=problem.losses, cost=problem.cost)


# -- front, finalists, winner
# ---------------------------------------------------------------------------------------


def candidates_of(space, pairs):
    rng = np.random.default_rng(0)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(2 * len(pairs))))
    return [
        Candidate(arch=arch, loss=loss, predicted_ms=ms, num_parameters=10, size_bytes=40)
        for arch, (ms, loss) in zip(archs, pairs, strict=False)
    ]


def test_the_front_of_hand_drawn_points(space):
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.5, 2.5), (2.0, 2.2), (4.0, 1.0)]
    front = pareto_front(candidates_of(space, points))
    assert [(c.predicted_ms, c.loss) for c in front] == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]


def test_no_member_of_the_front_is_dominated_and_all_others_are(space):
    evolution = Problem(space).evolve()

    def dominates(a, b):
        return a.predicted_ms <= b.predicted_ms and a.loss <= b.loss and a != b

    for candidate in evolution.ranked:
        beaten = any(dominates(other, candidate) for other in evolution.front)
        assert beaten != (candidate in evolution.front)


def test_finalists_go_further_and_further_below_the_limit(space):
    limits = Limits(max_latency_ms=12.0)
    evolution = Problem(space).evolve(limits)
    chosen = finalists(evolution, limits, 4, margin=0.2)
    assert chosen[0] == evolution.ranked[0]
    assert len({c.arch.key for c in chosen}) == 4
    for i, candidate in enumerate(chosen):
        assert candidate.predicted_ms <= 12.0 * (1 - 0.2 * i / 3)


def test_further_finalists_leave_out_the_measured_ones(space):
    limits = Limits(max_latency_ms=12.0)
    evolution = Problem(space).evolve(limits)
    first = {c.arch.key for c in finalists(evolution, limits, 5)}
    second = {c.arch.key for c in finalists(evolution, limits, 5, exclude=first)}
    assert len(first) == len(second) == 5
    assert not first & second
    assert len(finalists(evolution, limits, 10_000)) == len(evolution.ranked)


def test_the_winner_is_the_best_that_keeps_the_limit_as_measured(space):
    limits = Limits(max_latency_ms=10.0)
    predicted = candidates_of(space, [(9.0, 1.0), (9.5, 1.5), (8.0, 2.0), (7.0, 3.0)])
    measured = [
        c.model_copy(update={"measured_ms": ms})
        for c, ms in zip(predicted, [10.1, None, 10.0, 7.0], strict=True)
    ]
    assert choose_winner(measured, limits).loss == 2.0


def test_no_winner_names_the_fastest_measured(space):
    measured = [
        c.model_copy(update={"measured_ms": ms})
        for c, ms in zip(candidates_of(space, [(9.0, 1.0), (9.5, 1.5)]), [12.5, 11.25], strict=True)
    ]
    with pytest.raises(
        InfeasibleError, match=r"fastest took 11\.25 ms, the limit is 10 ms"
    ) as error:
        choose_winner(measured, Limits(max_latency_ms=10.0))
    assert error.value.fastest_latency_ms == 11.25
    with pytest.raises(InfeasibleError, match="none of the 2 finalists could be measured"):
        choose_winner(candidates_of(space, [(9.0, 1.0), (9.5, 1.5)]), Limits(max_latency_ms=10.0))
