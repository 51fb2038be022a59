import math

import numpy as np
import pytest
import torch
from toy_dataset import VOCAB_SIZE, ToyDataset, ToyModel

from mosdeploy.errors import ConfigError
from mosdeploy.evaluation.cache import BlockLosses
from mosdeploy.evaluation.proxy import ProxyEvaluator


@pytest.fixture
def dataset() -> ToyDataset:
    return ToyDataset.of(60)


@pytest.fixture
def evaluator(dataset: ToyDataset) -> ProxyEvaluator:
    return ProxyEvaluator(dataset)


def full_loss(dataset: ToyDataset, model: ToyModel) -> float:
    batch = dataset.batch(np.arange(len(dataset)))
    return batch.loss(model(*batch.inputs())).item() / batch.num_targets


def test_it_is_the_mean_loss_of_all_examples(
    dataset: ToyDataset, evaluator: ProxyEvaluator
) -> None:
    for seed in (0, 1):
        model = ToyModel(seed)
        found = evaluator.evaluate(model)
        assert found.loss == pytest.approx(full_loss(dataset, model), rel=1e-5)
        assert found.loss == sum(found.nats) / evaluator.num_targets
        assert len(found.nats) == evaluator.num_blocks == 60


def test_a_uniform_model_loses_log_v_a_target(evaluator: ProxyEvaluator) -> None:
    model = ToyModel()
    torch.nn.init.zeros_(model.table)
    assert evaluator.evaluate(model).loss == pytest.approx(math.log(VOCAB_SIZE))


def test_an_incumbent_changes_no_loss_that_is_finished(evaluator: ProxyEvaluator) -> None:
    model = ToyModel()
    alone = evaluator.evaluate(model)
    assert evaluator.evaluate(model, alone) == alone
    worse = BlockLosses(nats=tuple(x + 0.1 for x in alone.nats), loss=1.0)
    assert evaluator.evaluate(model, worse) == alone


def test_a_subnet_that_is_worse_stops_after_a_quarter(evaluator: ProxyEvaluator) -> None:
    alone = evaluator.evaluate(ToyModel())
    better = BlockLosses(nats=tuple(x - 0.1 for x in alone.nats), loss=1.0)
    stopped_early = evaluator.evaluate(ToyModel(), better)
    assert stopped_early.loss is None
    assert stopped_early.nats == alone.nats[:15]


def test_every_run_deals_the_same_blocks_of_like_size() -> None:
    dataset = ToyDataset.of(150, seed=3)
    model = ToyModel()
    assert ProxyEvaluator(dataset).evaluate(model) == ProxyEvaluator(dataset).evaluate(model)
    sizes = np.zeros(64, dtype=int)
    for stage in ProxyEvaluator(dataset)._stages:
        for _, blocks in stage.batches:
            np.add.at(sizes, blocks.numpy(), 1)
    assert sizes.sum() == 150
    assert set(sizes) == {2, 3}


def test_a_loss_that_is_not_finite_is_no_loss(evaluator: ProxyEvaluator) -> None:
    model = ToyModel()
    with torch.no_grad():
        model.table[5] = math.nan
    assert evaluator.evaluate(model) == BlockLosses()


def test_one_example_is_enough_and_none_are_not() -> None:
    one = ProxyEvaluator(ToyDataset([[5, 6]]))
    found = one.evaluate(ToyModel(), BlockLosses(nats=(0.0,), loss=0.0))
    assert found.loss is not None
    assert len(found.nats) == 1
    with pytest.raises(ConfigError, match="no examples"):
        ProxyEvaluator(ToyDataset([]))


def test_examples_without_a_target_are_refused() -> None:
    dataset = ToyDataset([[5, 6], [7]])
    dataset.num_targets = np.zeros(2, dtype=np.int64)
    with pytest.raises(ConfigError, match="nothing to predict; add other examples"):
        ProxyEvaluator(dataset)


def test_an_example_longer_than_a_batch_has_one_of_its_own() -> None:
    long = ProxyEvaluator(ToyDataset([[1] * 600, [2, 3]]))
    assert long.evaluate(ToyModel()).loss is not None
