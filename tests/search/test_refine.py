"""The best of a search gets more layers and wider FFNs, as far as the limits allow."""

import itertools

import numpy as np
import pytest
from example_spaces import space_of
from search_problem import CONFIG, MEDIUM, Problem, evolution_of, scored

from mosdeploy.config import load_recipe
from mosdeploy.records import Limits
from mosdeploy.search.constraints import Cost, SearchOracle
from mosdeploy.search.evolution import evolve
from mosdeploy.search.front import choose_winner, finalists, quality
from mosdeploy.search.refine import add_layers, widen_ffn

DEEP_LIMITS = Limits(max_latency_ms=14.0)
WIDE_LIMITS = Limits(max_latency_ms=12.0)
ENCODERS = load_recipe("minilm-l6").space


class FewLayers(Problem):
    """A supernet that has learned little: few layers are better, by a percent for each."""

    rise = 0.03

    def loss(self, arch):
        row = MEDIUM.to_genes(arch)
        return 3.0 + self.rise * sum(MEDIUM.depths(arch)) + 1e-7 * float(row.sum())


def is_ffn():
    """Which genes are widths of FFNs, (G,)."""
    columns = np.arange(MEDIUM.num_genes)
    names = ("encoder_ffn_dim", "decoder_ffn_dim")
    return np.isin(columns, [i for x in names for i in columns[MEDIUM.gene_slices[x]]])


def widths(arch):
    return [layer.ffn_dim for layer in (*arch.encoder_layers, *arch.decoder_layers)]


def skeleton(arch):
    """All but the widths of the FFNs."""
    encoder = [layer.model_copy(update={"ffn_dim": 1}) for layer in arch.encoder_layers]
    decoder = [layer.model_copy(update={"ffn_dim": 1}) for layer in arch.decoder_layers]
    return (arch.encoder_embed_dim, arch.decoder_embed_dim, *encoder, *decoder)


class NarrowFfns(Problem):
    """A supernet that has learned little: narrow FFNs are better, by less than a percent in all."""

    rise = 2e-5

    def loss(self, arch):
        row = MEDIUM.to_genes(arch)
        # no two that differ in more than these widths are equally good; the small ones are best
        others = np.where(is_ffn(), 0, row) @ np.linspace(1.0, 2.0, MEDIUM.num_genes)
        return 3.0 + 1e-3 * others + self.rise * sum(widths(arch))


def deepened(problem):
    found = evolve(MEDIUM, CONFIG, DEEP_LIMITS, problem.oracle)
    return found, add_layers(found, MEDIUM, DEEP_LIMITS, problem.oracle)


def widened(problem, limits=WIDE_LIMITS):
    found = evolve(MEDIUM, CONFIG, limits, problem.oracle)
    return found, widen_ffn(found, MEDIUM, limits, problem.oracle, 3)


# -- more layers


def test_the_winner_has_the_most_layers_that_keep_the_limit():
    problem = FewLayers()
    before, after = deepened(problem)
    shallow, deep = before.ranked[0], after.ranked[0]
    assert MEDIUM.depths(shallow.arch) == (1, 1)
    assert deep.predicted_ms == problem.latency(deep.arch) <= 14.0
    assert deep.loss == problem.loss(deep.arch) > deep.base_loss == shallow.loss
    assert deep.arch.encoder_embed_dim == shallow.arch.encoder_embed_dim
    assert deep.arch.decoder_embed_dim == shallow.arch.decoder_embed_dim
    assert set(widths(deep.arch)) == {64}
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
    problem = FewLayers()
    before, after = deepened(problem)
    wide = widen_ffn(after, MEDIUM, DEEP_LIMITS, problem.oracle, 4)
    assert MEDIUM.depths(wide.ranked[0].arch) == MEDIUM.depths(after.ranked[0].arch)
    assert wide.ranked[0].base_loss == after.ranked[0].base_loss
    keys = [quality(c) for c in wide.ranked]
    assert keys == sorted(keys)
    # the best of the evolution gets wider all the same, for devices that are slower
    shallow = [c for c in wide.ranked if MEDIUM.depths(c.arch) == (1, 1)]
    most = max(c.num_body_parameters for c in shallow)
    assert most > before.ranked[0].num_body_parameters


def encoders(*losses, time_loss=None):
    """Deepen an encoder of one layer and the first loss; more layers have the others."""
    nets = [
        ENCODERS.repeated({"embed_dim": 384, "layers": n, "ffn_dim": 192, "heads": 3})
        for n in range(1, len(losses) + 1)
    ]
    loss_of = dict(zip(nets, losses, strict=True))

    def cost(arch):
        return Cost(len(arch.layers), 0, num_body_parameters=len(arch.layers), memory_bytes=0)

    oracle = SearchOracle(lambda archs: [loss_of.get(x, 9.0) for x in archs], cost)
    evolution = evolution_of(scored(nets[0], losses[0], time_loss=time_loss))
    return add_layers(evolution, ENCODERS, Limits(max_parameters=len(losses)), oracle)


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
    loss_of = {(1, 2): 2.99, (2, 1): 2.995}
    oracle = SearchOracle(
        lambda archs: [loss_of.get(MEDIUM.depths(arch)) for arch in archs], Problem().cost
    )
    after = add_layers(evolution_of(scored(MEDIUM.smallest, 3.0)), MEDIUM, Limits(), oracle)
    losses = [(c.loss, c.base_loss) for c in after.ranked]
    assert losses == [(2.99, None), (2.995, None), (3.0, None)]


@pytest.mark.parametrize(("most", "heads"), [(30, [9, 9, 9]), (20, [3, 3, 3]), (8, [9])])
def test_new_layers_have_the_heads_of_the_last_one_if_the_limit_lets_them(most, heads):
    one = ENCODERS.repeated({"embed_dim": 384, "layers": 1, "ffn_dim": 1536, "heads": 9})

    def total(arch):
        return sum(layer.heads for layer in arch.layers)

    oracle = SearchOracle(
        lambda archs: [1.0 + 0.01 * len(arch.layers) for arch in archs],
        lambda arch: Cost(total(arch), 0, num_body_parameters=total(arch), memory_bytes=0),
    )
    evolution = evolution_of(scored(one, 1.01, num_parameters=9))
    after = add_layers(evolution, ENCODERS, Limits(max_parameters=most), oracle)
    three = [c for c in after.ranked if len(c.arch.layers) == len(heads)]
    assert [[layer.heads for layer in c.arch.layers] for c in three] == [heads]
    assert all(c.num_parameters <= most for c in after.ranked[:-1])


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
    names = {"encoder_layers": layers, "decoder_layers": 1, "cross_span": spans[-1]}
    names |= dict.fromkeys(("encoder_embed_dim", "decoder_embed_dim"), 32)
    names |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64)
    names |= dict.fromkeys(("encoder_heads", "decoder_self_heads", "decoder_cross_heads"), 2)
    evolution = evolution_of(scored(space.repeated(names), 2.0))
    oracle = SearchOracle(lambda archs: [2.0 for _ in archs], Problem(space).cost)
    after = add_layers(evolution, space, Limits(), oracle)
    deepest = max(after.ranked, key=lambda c: sum(space.depths(c.arch)))
    assert space.depths(deepest.arch) == (3, 3)
    assert all(layer.cross_span in spans for layer in deepest.arch.decoder_layers)


# -- wider FFNs


def test_the_winner_has_the_widest_ffns_that_keep_the_limit():
    problem = NarrowFfns()
    before, after = widened(problem)
    narrow, wide = before.ranked[0], after.ranked[0]
    assert skeleton(wide.arch) == skeleton(narrow.arch)
    assert sum(widths(wide.arch)) > sum(widths(narrow.arch))
    assert wide.predicted_ms == problem.latency(wide.arch) <= 12.0
    assert wide.loss == problem.loss(wide.arch) > wide.base_loss == narrow.loss
    row = MEDIUM.to_genes(wide.arch)
    for column in np.flatnonzero(is_ffn() & (row > 0)):
        for choice in MEDIUM.gene_choices[column]:
            wider = np.where(np.arange(len(row)) == column, choice, row)
            assert choice <= row[column] or problem.latency(MEDIUM.from_genes(wider)) > 12.0


def test_what_lies_between_is_there_for_devices_that_are_slower():
    before, after = widened(NarrowFfns())
    assert sum(c.base_loss is not None for c in after.ranked) > 2
    chosen = finalists(after, WIDE_LIMITS, 4, margin=0.2)
    assert {skeleton(c.arch) for c in chosen} == {skeleton(before.ranked[0].arch)}
    assert all(c.predicted_ms <= 12.0 * (1 - 0.2 * i / 3) for i, c in enumerate(chosen))
    timed = [c.model_copy(update={"measured_ms": c.predicted_ms * 1.05}) for c in chosen]
    best = choose_winner(timed, WIDE_LIMITS)
    kept = [c.num_body_parameters for c in timed if c.measured_ms <= 12.0]
    assert best.num_body_parameters == max(kept)
    keys = [quality(c) for c in after.ranked]
    assert keys == sorted(keys)
    assert after.front[-1] == after.ranked[0]


@pytest.mark.parametrize("first", [1e-6, 0.0, -1e-6])
@pytest.mark.parametrize("time_loss", [None, -2.95])
def test_neither_noise_nor_the_time_of_steps_stops_it_halfway(first, time_loss):
    """All wider ones rise by 0.05%, but for the first, whose loss is the narrow one's nearly."""
    narrowest = np.array([min(choices) for choices in MEDIUM.gene_choices])
    narrow = MEDIUM.from_genes(np.where(is_ffn(), narrowest, MEDIUM.to_genes(MEDIUM.largest)))
    seen = []
    added = time_loss or 0.0

    def losses(archs):
        path = [arch for arch in archs if arch != narrow]
        seen.extend(sorted(path, key=lambda arch: sum(widths(arch))))
        of = dict.fromkeys(path, 3.0015) | {seen[0]: 3.0 + first}
        return [of.get(arch, 3.0) + added for arch in archs]

    oracle = SearchOracle(losses, Problem().cost)
    evolution = evolution_of(scored(narrow, 3.0 + added, time_loss=time_loss))
    after = widen_ffn(evolution, MEDIUM, Limits(max_parameters=10**9), oracle, 3)
    assert after.ranked[0].arch == MEDIUM.largest


@pytest.mark.parametrize("limits", [Limits(max_parameters=80_000), Limits(max_size_bytes=300_000)])
def test_other_limits_are_kept_too(limits):
    _, after = widened(NarrowFfns(), limits)
    wide = after.ranked[0]
    assert wide.num_parameters <= (limits.max_parameters or 10**9)
    assert wide.size_bytes <= (limits.max_size_bytes or 10**9)
    assert wide.base_loss is not None


def widened_encoders(loss_of, origins, most):
    """Widen encoders of two FFNs; return base losses by the widths of both, of which losses are
    told.
    """
    nets = [
        ENCODERS.repeated({"embed_dim": 384, "layers": 2, "ffn_dim": width, "heads": 6})
        for width in origins
    ]

    def total(arch):
        return sum(layer.ffn_dim for layer in arch.layers)

    oracle = SearchOracle(
        lambda archs: [loss_of[total(arch)] for arch in archs],
        lambda arch: Cost(total(arch), 0, num_body_parameters=total(arch), memory_bytes=0),
    )
    found = [scored(arch, loss_of[total(arch)], num_parameters=total(arch)) for arch in nets]
    after = widen_ffn(evolution_of(*found), ENCODERS, Limits(max_parameters=most), oracle, 2)
    assert all(layer.heads == 6 for c in after.ranked for layer in c.arch.layers)
    return {c.num_parameters: c.base_loss for c in after.ranked}


def test_a_wider_one_is_compared_with_each_that_it_comes_from():
    losses = {384: 0.5, 576: 0.505, 768: 0.509, 1152: 0.515}
    # the widest is 3% above the first, but not above the second
    base_losses = {384: None, 576: 0.5, 768: 0.5, 1152: 0.509}
    assert widened_encoders(losses, (192, 384), most=1200) == base_losses


def test_a_wider_one_stands_by_none_that_is_clearly_better():
    """4% above the second, and 1% above the first."""
    losses = {384: 0.5, 576: 0.485, 768: 0.505}
    assert widened_encoders(losses, (192,), most=800) == {384: None, 576: None, 768: 0.5}


# -- both


@pytest.mark.parametrize(
    ("refine", "problem", "rise"), [(deepened, FewLayers(), 0.3), (widened, NarrowFfns(), 1e-3)]
)
def test_one_whose_loss_is_clearly_worse_is_left_out(refine, problem, rise):
    problem.rise = rise
    before, after = refine(problem)
    for candidate in after.ranked:
        if candidate.base_loss is not None:
            assert candidate.loss <= candidate.base_loss * 1.02
    assert after.ranked[0].loss <= before.ranked[0].loss * 1.02
    assert after.num_evaluated >= before.num_evaluated


@pytest.mark.parametrize("refine", [deepened, widened])
def test_where_larger_is_better_anyway_nothing_is_compared_by_another_loss(refine):
    before, after = refine(Problem())
    assert all(c.base_loss is None for c in after.ranked)
    assert after.ranked[0].loss <= before.ranked[0].loss


@pytest.mark.parametrize(("refine", "problem"), [(deepened, FewLayers), (widened, NarrowFfns)])
def test_the_smallest_limit_leaves_all_as_it_is(refine, problem):
    before, after = refine(problem(latency=lambda arch: 1.0 if arch == MEDIUM.smallest else 99.0))
    assert after.ranked == before.ranked and after.num_evaluated == before.num_evaluated
