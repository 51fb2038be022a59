"""The best of a search gets more layers, as far as the limits allow."""

import pytest
from search_problem import CONFIG, MEDIUM, Problem

from mosdeploy.config import load_recipe
from mosdeploy.records import Candidate, Limits
from mosdeploy.search import (
    Cost,
    Evolution,
    SearchOracle,
    evolve,
    finalists,
    inherited_quality,
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
    # one layer more is too slow in either stack
    total = sum(MEDIUM.depths(deep.arch))
    others = [c for c in after.ranked if sum(MEDIUM.depths(c.arch)) > total]
    assert others == []
    assert total > 2


def test_layers_come_before_widths():
    problem = Young()
    _, after = searched(problem)
    wide = with_wider(after, MEDIUM, LIMITS, problem.oracle, 4)
    assert MEDIUM.depths(wide.ranked[0].arch) == MEDIUM.depths(after.ranked[0].arch)
    assert wide.ranked[0].narrow_loss == after.ranked[0].narrow_loss
    keys = [inherited_quality(c) for c in wide.ranked]
    assert keys == sorted(keys)
    chosen = finalists(wide, LIMITS, 3, margin=0.3)
    assert all(c.predicted_ms <= 14.0 * (1 - 0.3 * i / 2) for i, c in enumerate(chosen))


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
