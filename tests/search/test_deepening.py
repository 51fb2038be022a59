"""The best of a search gets more layers, as far as the limits allow."""

import itertools

import pytest
from example_spaces import space_of
from search_problem import CONFIG, MEDIUM, Problem

from mosdeploy.config import load_recipe
from mosdeploy.records import Candidate, Limits
from mosdeploy.search import (
    Cost,
    Evolution,
    SearchOracle,
    choose_winner,
    evolve,
    finalists_to_train,
    inherited_quality,
    size_of,
    with_deeper,
    with_wider,
)

LIMITS = Limits(max_latency_ms=14.0)


class Young(Problem):
    """A supernet that has learned little: few layers are better, by a percent for each."""

    rise = 0.03

    def loss(self, arch):
        row = MEDIUM.to_genes(arch)
        return 3.0 + self.rise * sum(MEDIUM.depths(arch)) + 1e-7 * float(row.sum())


class Steep(Young):
    """More layers are clearly worse."""

    rise = 0.3


def searched(problem, limits=LIMITS):
    found = evolve(MEDIUM, CONFIG, limits, problem.oracle)
    return found, with_deeper(found, MEDIUM, limits, problem.oracle)


def test_the_winner_has_the_most_layers_that_keep_the_limit():
    problem = Young()
    before, after = searched(problem)
    shallow, deep = before.ranked[0], after.ranked[0]
    assert MEDIUM.depths(shallow.arch) == (1, 1)
    assert deep.predicted_ms == problem.latency(deep.arch) <= 14.0
    assert deep.loss == problem.loss(deep.arch) > deep.narrow_loss == shallow.loss
    assert deep.arch.encoder_embed_dim == shallow.arch.encoder_embed_dim
    assert deep.arch.decoder_embed_dim == shallow.arch.decoder_embed_dim
    assert {layer.ffn_dim for layer in (*deep.arch.encoder_layers, *deep.arch.decoder_layers)} == {
        64
    }
    total = sum(MEDIUM.depths(deep.arch))
    assert total > 2
    # whatever has more layers is too slow, as narrow as it may be
    for depths in itertools.product((1, 2, 3), repeat=2):
        names = {"encoder_layers": depths[0], "decoder_layers": depths[1]}
        rest = {"encoder_embed_dim": deep.arch.encoder_embed_dim}
        rest |= {"decoder_embed_dim": deep.arch.decoder_embed_dim, "cross_span": 1}
        heads = ("encoder_heads", "decoder_self_heads", "decoder_cross_heads")
        rest |= dict.fromkeys(heads, 2) | dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
        assert sum(depths) <= total or problem.latency(MEDIUM.repeated(names | rest)) > 14.0


def test_layers_come_before_widths():
    problem = Young()
    before, after = searched(problem)
    wide = with_wider(after, MEDIUM, LIMITS, problem.oracle, 4)
    assert MEDIUM.depths(wide.ranked[0].arch) == MEDIUM.depths(after.ranked[0].arch)
    assert wide.ranked[0].narrow_loss == after.ranked[0].narrow_loss
    keys = [inherited_quality(c) for c in wide.ranked]
    assert keys == sorted(keys)
    # the best of the evolution gets wider all the same, for devices that are slower
    shallow = [c for c in wide.ranked if MEDIUM.depths(c.arch) == (1, 1)]
    assert max(map(size_of, shallow)) > size_of(before.ranked[0])


def test_one_whose_loss_is_clearly_worse_is_left_out():
    before, after = searched(Steep())
    assert after.ranked == before.ranked
    assert after.num_evaluated >= before.num_evaluated


def test_where_deeper_is_better_anyway_nothing_is_compared_by_another_loss():
    before, after = searched(Problem())
    assert all(c.narrow_loss is None for c in after.ranked)
    assert after.ranked[0].loss <= before.ranked[0].loss


def test_the_smallest_limit_leaves_all_as_it_is():
    problem = Young(latency=lambda arch: 1.0 if arch == MEDIUM.smallest else 99.0)
    before, after = searched(problem)
    assert after.ranked == before.ranked and after.num_evaluated == before.num_evaluated


def encoders(*losses, time_loss=None):
    """An evolution that found one layer with the first loss; more layers have the others."""
    space = load_recipe("minilm-l6").space
    nets = [
        space.repeated({"embed_dim": 384, "layers": n, "ffn_dim": 192, "heads": 3})
        for n in range(1, len(losses) + 1)
    ]
    loss_of = dict(zip(nets, losses, strict=True))

    def cost(arch):
        return Cost(len(arch.layers), 0, num_body_parameters=len(arch.layers), memory_bytes=0)

    oracle = SearchOracle(losses=lambda archs, _: [loss_of.get(x, 9.0) for x in archs], cost=cost)
    found = Candidate(
        arch=nets[0],
        loss=losses[0],
        time_loss=time_loss,
        predicted_ms=None,
        num_parameters=1,
        size_bytes=0,
    )
    evolution = Evolution((found,), (found,), frozenset({nets[0]}))
    return with_deeper(evolution, space, Limits(max_parameters=len(losses)), oracle)


@pytest.mark.parametrize(
    ("losses", "order"),
    [
        ((0.3, 0.3001, 0.3001), [3, 2, 1]),
        ((0.3, 0.2999, 0.3001), [3, 2, 1]),
        ((0.3, 0.3001, 0.2999), [3, 2, 1]),
        ((0.3, 0.2998, 0.2999), [3, 2, 1]),
        ((0.3, 0.32, 0.3149), [3, 1]),
        ((0.3, 0.3149, 0.32), [2, 1]),
    ],
)
def test_the_deepest_comes_first_whatever_is_a_little_better(losses, order):
    assert [len(c.arch.layers) for c in encoders(*losses).ranked] == order


@pytest.mark.parametrize(("time_loss", "order"), [(None, [1]), (-0.2, [2, 1])])
def test_a_rise_is_a_share_of_the_loss_without_the_time_of_steps(time_loss, order):
    """5% of 0.3 and of 0.5."""
    found = encoders(0.3, 0.32, time_loss=time_loss)
    assert [len(c.arch.layers) for c in found.ranked] == order


def test_of_as_many_layers_none_stands_by_the_loss_of_another():
    best = MEDIUM.smallest
    loss_of = {(1, 2): 2.99, (2, 1): 2.995}
    oracle = SearchOracle(
        lambda archs, _: [loss_of.get(MEDIUM.depths(arch)) for arch in archs], Problem().cost
    )
    found = Candidate(arch=best, loss=3.0, predicted_ms=None, num_parameters=1, size_bytes=0)
    evolution = Evolution((found,), (found,), frozenset({best}))
    after = with_deeper(evolution, MEDIUM, Limits(), oracle)
    assert [(c.loss, c.narrow_loss) for c in after.ranked] == [
        (2.99, None),
        (2.995, None),
        (3.0, None),
    ]


def test_a_new_layer_is_like_the_last_one():
    space = load_recipe("minilm-l6").space
    two = space.repeated({"embed_dim": 384, "layers": 2, "ffn_dim": 192, "heads": 9})
    first = two.layers[0].model_copy(update={"heads": 3})
    two = two.model_copy(update={"layers": (first, two.layers[1])})
    oracle = SearchOracle(
        lambda archs, _: [1.0 for _ in archs],
        lambda arch: Cost(len(arch.layers), 0, num_body_parameters=1, memory_bytes=0),
    )
    found = Candidate(arch=two, loss=1.0, predicted_ms=None, num_parameters=1, size_bytes=0)
    evolution = Evolution((found,), (found,), frozenset({two}))
    after = with_deeper(evolution, space, Limits(max_parameters=3), oracle)
    (three,) = (c.arch for c in after.ranked if len(c.arch.layers) == 3)
    assert [layer.heads for layer in three.layers] == [3, 9, 9]


def test_near_the_limit_the_deeper_one_wins_and_the_wider_one_does_not():
    deep, shallow = encoders(0.3, 0.305).ranked
    timed = [
        deep.model_copy(update={"measured_ms": 9.9}),
        shallow.model_copy(update={"measured_ms": 9.8}),
    ]
    limits = Limits(max_latency_ms=10.0)
    assert choose_winner(timed, limits, margin=0.03).arch == deep.arch
    assert choose_winner(timed, limits).arch == deep.arch


def test_finalists_to_train_are_of_all_depths():
    found = encoders(0.3, 0.301, 0.302).ranked
    chosen = finalists_to_train(found, found, 5, lambda arch: (len(arch.layers),))
    assert [len(c.arch.layers) for c in chosen] == [3, 2, 1]


@pytest.mark.parametrize("spans", [(2,), (2, 3), (1, 3)])
@pytest.mark.parametrize("layers", [1, 2])
def test_spans_that_the_depth_had_cut_short_grow(spans, layers):
    space = space_of(
        embed_dim=(32,),
        layers=(1, 2, 3),
        ffn_dim=(64, 128),
        heads=(2,),
        qkv_dim=32,
        cross_span=spans,
    )
    problem = Problem(space)
    names = {"encoder_layers": layers, "decoder_layers": 1, "cross_span": spans[-1]}
    names |= dict.fromkeys(("encoder_embed_dim", "decoder_embed_dim"), 32)
    names |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
    names |= dict.fromkeys(("encoder_heads", "decoder_self_heads", "decoder_cross_heads"), 2)
    arch = space.repeated(names)
    found = Candidate(arch=arch, loss=2.0, predicted_ms=None, num_parameters=1, size_bytes=0)
    oracle = SearchOracle(lambda archs, _: [2.0 for _ in archs], problem.cost)
    after = with_deeper(Evolution((found,), (found,), frozenset({arch})), space, Limits(), oracle)
    deepest = max(after.ranked, key=lambda c: sum(space.depths(c.arch)))
    assert space.depths(deepest.arch) == (3, 3)
    assert all(layer.cross_span in spans for layer in deepest.arch.decoder_layers)


@pytest.mark.parametrize(("most", "heads"), [(30, [9, 9, 9]), (20, [3, 3, 3]), (8, [9])])
def test_new_layers_of_an_encoder_have_the_heads_of_the_last_one_if_the_limit_lets_them(
    most, heads
):
    space = load_recipe("minilm-l6").space
    one = space.repeated({"embed_dim": 384, "layers": 1, "ffn_dim": 1536, "heads": 9})

    def total(arch):
        return sum(layer.heads for layer in arch.layers)

    oracle = SearchOracle(
        losses=lambda archs, _: [1.0 + 0.01 * len(arch.layers) for arch in archs],
        cost=lambda arch: Cost(total(arch), 0, num_body_parameters=total(arch), memory_bytes=0),
    )
    found = Candidate(arch=one, loss=1.01, predicted_ms=None, num_parameters=9, size_bytes=0)
    evolution = Evolution((found,), (found,), frozenset({one}))
    limits = Limits(max_parameters=most)
    after = with_deeper(evolution, space, limits, oracle)
    three = [c for c in after.ranked if len(c.arch.layers) == len(heads)]
    assert [[layer.heads for layer in c.arch.layers] for c in three] == [heads]
    assert all(c.num_parameters <= most for c in after.ranked[:-1])
