"""The best of a search get wider FFNs, as far as the limits allow."""

import numpy as np
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
    finalists,
    inherited_quality,
    size_of,
    with_wider,
)

LIMITS = Limits(max_latency_ms=12.0)
NARROWEST = np.array([min(choices) for choices in MEDIUM.gene_choices])


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


class Young(Problem):
    """A supernet that has learned little: narrow FFNs are better, by less than a percent in all."""

    rise = 2e-5

    def loss(self, arch):
        row = MEDIUM.to_genes(arch)
        # no two that differ in more than these widths are equally good; the small ones are best
        others = np.where(is_ffn(), 0, row) @ np.linspace(1.0, 2.0, MEDIUM.num_genes)
        return 3.0 + 1e-3 * others + self.rise * sum(widths(arch))


class Steep(Young):
    """Wider FFNs are clearly worse."""

    rise = 1e-3


def searched(problem, limits=LIMITS, count=3):
    found = evolve(MEDIUM, CONFIG, limits, problem.oracle)
    return found, with_wider(found, MEDIUM, limits, problem.oracle, count)


def test_the_winner_has_the_widest_ffns_that_keep_the_limit():
    problem = Young()
    before, after = searched(problem)
    narrow, wide = before.ranked[0], after.ranked[0]
    assert skeleton(wide.arch) == skeleton(narrow.arch)
    assert sum(widths(wide.arch)) > sum(widths(narrow.arch))
    assert wide.predicted_ms == problem.latency(wide.arch) <= 12.0
    assert wide.loss == problem.loss(wide.arch) > wide.narrow_loss == narrow.loss
    row = MEDIUM.to_genes(wide.arch)
    for column in np.flatnonzero(is_ffn() & (row > 0)):
        for choice in MEDIUM.gene_choices[column]:
            wider = np.where(np.arange(len(row)) == column, choice, row)
            assert choice <= row[column] or problem.latency(MEDIUM.from_genes(wider)) > 12.0


def test_what_lies_between_is_there_for_devices_that_are_slower():
    before, after = searched(Young())
    assert sum(c.narrow_loss is not None for c in after.ranked) > 2
    chosen = finalists(after, LIMITS, 4, margin=0.2)
    assert {skeleton(c.arch) for c in chosen} == {skeleton(before.ranked[0].arch)}
    assert all(c.predicted_ms <= 12.0 * (1 - 0.2 * i / 3) for i, c in enumerate(chosen))
    timed = [c.model_copy(update={"measured_ms": c.predicted_ms * 1.05}) for c in chosen]
    best = choose_winner(timed, LIMITS)
    kept = [c for c in timed if c.measured_ms <= 12.0]
    assert size_of(best) == max(map(size_of, kept))


def test_where_none_keeps_the_limit_by_the_noise_the_faster_of_alike_ones_wins():
    chosen = finalists(searched(Young())[1], LIMITS, 3, margin=0.2)
    timed = [c.model_copy(update={"measured_ms": 11.9 - 0.1 * i}) for i, c in enumerate(chosen)]
    assert choose_winner(timed, LIMITS, margin=0.1) == timed[-1]
    assert choose_winner(timed, LIMITS) == timed[0]


@pytest.mark.parametrize("first", [1e-6, 0.0, -1e-6])
@pytest.mark.parametrize("time_loss", [None, -2.95])
def test_neither_noise_nor_the_time_of_steps_stops_it_halfway(first, time_loss):
    """All wider ones rise by 0.05%, but for the first, whose loss is the narrow one's nearly."""
    problem = Problem(MEDIUM)
    narrow = MEDIUM.from_genes(np.where(is_ffn(), NARROWEST, MEDIUM.to_genes(MEDIUM.largest)))
    seen = []
    added = time_loss or 0.0

    def losses(archs, incumbents):
        path = [arch for arch in archs if arch != narrow]
        seen.extend(sorted(path, key=lambda arch: sum(widths(arch))))
        of = dict.fromkeys(path, 3.0015) | {seen[0]: 3.0 + first}
        return [of.get(arch, 3.0) + added for arch in archs]

    problem.losses = losses
    limits = Limits(max_parameters=10**9)
    cost = problem.cost(narrow)
    origin = Candidate(
        arch=narrow,
        loss=3.0 + added,
        time_loss=time_loss,
        predicted_ms=problem.latency(narrow),
        num_parameters=cost.num_parameters,
        size_bytes=cost.size_bytes,
    )
    found = Evolution((origin,), (origin,), frozenset([narrow]))
    after = with_wider(found, MEDIUM, limits, problem.oracle, 3)
    assert after.ranked[0].arch == MEDIUM.largest


def test_ranked_and_front_are_in_the_same_order():
    before, after = searched(Young())
    keys = [inherited_quality(c) for c in after.ranked]
    assert keys == sorted(keys)
    assert {c.arch for c in before.ranked} <= {c.arch for c in after.ranked}
    assert after.front[-1] == after.ranked[0]
    times = [c.predicted_ms for c in after.front]
    assert times == sorted(times)


def test_one_whose_loss_is_clearly_worse_is_left_out():
    before, after = searched(Steep())
    for candidate in after.ranked:
        if candidate.narrow_loss is not None:
            assert candidate.loss <= candidate.narrow_loss * 1.02
    assert after.ranked[0].loss <= before.ranked[0].loss * 1.02


@pytest.mark.parametrize("limits", [Limits(max_parameters=80_000), Limits(max_size_bytes=300_000)])
def test_other_limits_are_kept_too(limits):
    problem = Young()
    _, after = searched(problem, limits)
    wide = after.ranked[0]
    assert wide.num_parameters <= (limits.max_parameters or 10**9)
    assert wide.size_bytes <= (limits.max_size_bytes or 10**9)
    assert wide.narrow_loss is not None


def test_where_wider_is_better_anyway_nothing_is_compared_by_another_loss():
    before, after = searched(Problem())
    assert all(c.narrow_loss is None for c in after.ranked)
    assert after.ranked[0].loss <= before.ranked[0].loss


def test_the_smallest_limit_leaves_all_as_it_is():
    problem = Young(latency=lambda arch: 1.0 if arch == MEDIUM.smallest else 99.0)
    before, after = searched(problem)
    assert after.ranked == before.ranked and after.num_evaluated == before.num_evaluated


def test_an_encoder_gets_wider_ffns_too():
    space = load_recipe("minilm-l6").space
    narrow = space.repeated({"embed_dim": 384, "layers": 2, "ffn_dim": 192, "heads": 6})
    loss_of = {narrow: 0.5}

    def total(arch):
        return sum(layer.ffn_dim for layer in arch.layers)

    oracle = SearchOracle(
        losses=lambda archs, _: [loss_of.get(arch, 0.501) for arch in archs],
        cost=lambda arch: Cost(total(arch), 0, num_body_parameters=total(arch), memory_bytes=0),
    )
    found = Candidate(arch=narrow, loss=0.5, predicted_ms=None, num_parameters=384, size_bytes=0)
    limits = Limits(max_parameters=1000)
    evolution = Evolution((found,), (found,), frozenset({narrow}))
    wide = with_wider(evolution, space, limits, oracle, 1).ranked[0]
    assert [layer.ffn_dim for layer in wide.arch.layers] == [384, 384]
    assert wide.narrow_loss == 0.5
    assert [layer.heads for layer in wide.arch.layers] == [6, 6]


def compared(loss_of, origins, most):
    """By what candidates are compared, by the widths of two FFNs together, of which the losses are
    told; both are as wide in what was found.
    """
    space = load_recipe("minilm-l6").space
    nets = [
        space.repeated({"embed_dim": 384, "layers": 2, "ffn_dim": width, "heads": 6})
        for width in origins
    ]

    def total(arch):
        return sum(layer.ffn_dim for layer in arch.layers)

    def loss(arch):
        return loss_of[total(arch)]

    oracle = SearchOracle(
        losses=lambda archs, _: [loss(arch) for arch in archs],
        cost=lambda arch: Cost(total(arch), 0, num_body_parameters=total(arch), memory_bytes=0),
    )
    found = tuple(
        Candidate(
            arch=arch, loss=loss(arch), predicted_ms=None, num_parameters=total(arch), size_bytes=0
        )
        for arch in nets
    )
    evolution = Evolution(found, found[:1], frozenset(nets))
    after = with_wider(evolution, space, Limits(max_parameters=most), oracle, 2)
    return {c.num_parameters: c.narrow_loss for c in after.ranked}


def test_a_wider_one_is_compared_with_each_that_it_comes_from():
    losses = {384: 0.5, 576: 0.505, 768: 0.509, 1152: 0.515}
    # the widest is 3% above the first, but not above the second
    assert compared(losses, (192, 384), most=1200) == {
        384: None,
        576: 0.5,
        768: 0.5,
        1152: 0.509,
    }


def test_a_wider_one_stands_by_none_that_is_clearly_better():
    """4% above the second, and 1% above the first."""
    losses = {384: 0.5, 576: 0.485, 768: 0.505}
    assert compared(losses, (192,), most=800) == {384: None, 576: None, 768: 0.5}


def test_what_the_evolution_stopped_early_is_counted_once():
    space = space_of(
        embed_dim=(32,),
        layers=(1,),
        ffn_dim=(64, 128, 256),
        heads=(2,),
        qkv_dim=32,
        cross_span=(1,),
    )
    problem = Problem(space)

    def losses(archs, incumbents):
        problem.asked += archs
        for arch, incumbent in zip(archs, incumbents, strict=True):
            yield None if incumbent is not None else 1.0 + 1e-8 * problem.cost(arch).num_parameters

    oracle = SearchOracle(losses, problem.cost)
    config = CONFIG.model_copy(update={"population": 4, "parents": 2, "finalists": 2})
    found = evolve(space, config, Limits(), oracle)
    after = with_wider(found, space, Limits(), oracle, 5)
    assert len(problem.asked) > len(set(problem.asked)) == after.num_evaluated
