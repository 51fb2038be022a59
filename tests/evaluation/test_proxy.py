import math

import numpy as np
import pytest
import torch
from training_fixtures import pairs, space, vocab_size  # noqa: F401

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.errors import ConfigError
from mosdeploy.evaluation.cache import BlockLosses
from mosdeploy.evaluation.proxy import ProxyEvaluator
from mosdeploy.families.translation.dataset import Ragged, TokenizedPairs, ordered_batches
from mosdeploy.families.translation.decoding import validation_loss
from mosdeploy.families.translation.network import Subnet, extract
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.supernet import Supernet


@pytest.fixture
def net(space: TranslationSpace, vocab_size: int) -> Supernet:
    torch.manual_seed(1)
    return Supernet(space, vocab_size, SupernetConfig())


@pytest.fixture
def evaluator(pairs: TokenizedPairs) -> ProxyEvaluator:
    return ProxyEvaluator(pairs)


def test_it_reads_the_validation_loss(
    net: Supernet, pairs: TokenizedPairs, evaluator: ProxyEvaluator
) -> None:
    for arch in (net.space.largest, net.space.smallest):
        subnet = extract(net, arch)
        read = evaluator.evaluate(subnet)
        assert read.loss == pytest.approx(
            validation_loss(subnet, ordered_batches(pairs, 100)), rel=1e-5
        )
        assert read.loss == sum(read.nats) / evaluator.num_tokens
        assert len(read.nats) == evaluator.num_blocks == 60


def test_a_rival_changes_no_loss_that_is_read_to_the_end(
    net: Supernet, evaluator: ProxyEvaluator
) -> None:
    subnet = extract(net, net.space.largest)
    alone = evaluator.evaluate(subnet)
    assert evaluator.evaluate(subnet, alone) == alone
    worse = BlockLosses(nats=tuple(x + 0.1 for x in alone.nats), loss=1.0)
    assert evaluator.evaluate(subnet, worse) == alone


def test_a_subnet_that_is_worse_everywhere_is_given_up_after_a_quarter(
    net: Supernet, evaluator: ProxyEvaluator
) -> None:
    subnet = extract(net, net.space.largest)
    alone = evaluator.evaluate(subnet)
    better = BlockLosses(nats=tuple(x - 0.1 for x in alone.nats), loss=1.0)
    stopped_early = evaluator.evaluate(subnet, better)
    assert stopped_early.loss is None
    assert stopped_early.nats == alone.nats[:15]


def test_every_run_deals_the_same_blocks_of_like_size(net: Supernet, vocab_size: int) -> None:
    rng = np.random.default_rng(3)
    rows = [rng.integers(4, vocab_size, rng.integers(1, 7)).tolist() for _ in range(150)]
    pairs = TokenizedPairs(Ragged.of(rows), Ragged.of(rows), 0)
    subnet = extract(net, net.space.smallest)
    assert ProxyEvaluator(pairs).evaluate(subnet) == ProxyEvaluator(pairs).evaluate(subnet)
    sizes = np.zeros(64, dtype=int)
    for _, batches in ProxyEvaluator(pairs)._stages:
        for _, blocks in batches:
            np.add.at(sizes, blocks.numpy(), 1)
    assert sizes.sum() == 150
    assert set(sizes) == {2, 3}


def test_a_loss_that_is_not_finite_is_no_loss(net: Supernet, evaluator: ProxyEvaluator) -> None:
    subnet = extract(net, net.space.smallest)
    with torch.no_grad():
        subnet.embed.weight[5] = math.nan
    assert evaluator.evaluate(subnet) == BlockLosses()


def test_one_sentence_is_enough_and_none_are_not(net: Supernet) -> None:
    one = TokenizedPairs(Ragged.of([[5, 6]]), Ragged.of([[7]]), 0)
    subnet: Subnet = extract(net, net.space.smallest)
    read = ProxyEvaluator(one).evaluate(subnet, BlockLosses(nats=(0.0,), loss=0.0))
    assert read.loss is not None and len(read.nats) == 1
    with pytest.raises(ConfigError, match="no sentence pairs"):
        ProxyEvaluator(TokenizedPairs(Ragged.of([]), Ragged.of([]), 0))
