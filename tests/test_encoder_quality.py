"""What the figures of benchmarks/encoder_quality.py depend on, without a training."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_scripts import benchmark_module

from mosdeploy.config import load_recipe
from mosdeploy.families.encoder.elastic import fresh_subnet


@pytest.fixture(scope="module")
def hand() -> Iterator[Any]:
    with benchmark_module("encoder_quality_hand") as module:
        yield module


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    with benchmark_module("encoder_quality") as module:
        yield module


@pytest.fixture(scope="module")
def space() -> Any:
    return load_recipe("minilm-l6").space


class ByWeights:
    """A device whose latency follows the weights of the layers."""

    def predict(self, genes: Any) -> Any:
        space = load_recipe("minilm-l6").space
        archs = [space.from_genes(row) for row in genes]
        return np.array([sum(4 * 32 * x.heads + 2 * x.ffn_dim for x in a.layers) for a in archs])


def test_a_training_from_spaced_layers_starts_as_these(hand: Any, space: Any) -> None:
    config = load_recipe("minilm-l6")
    checkpoint = config.checkpoint.model_copy(update={"vocab_size": 50})
    config = config.model_copy(update={"checkpoint": checkpoint})
    largest = fresh_subnet(space.largest, space, config.vocab_size, config.supernet, seed=1)
    teacher = SimpleNamespace(subnet=lambda arch: largest)
    state: Any = SimpleNamespace(config=config, teacher=teacher)
    arch = hand.whole_layers(space)[1]
    training = hand.SpacedTraining(
        state, arch, "from-teacher", config.training, SimpleNamespace(sha256=())
    )
    start = training.start()
    for own, kept in enumerate((0, 5)):
        found = start.layers[own].fc1.weight
        assert torch.equal(found, largest.layers[kept].fc1.weight)


def test_narrower_nets_keep_the_limit_and_are_no_whole_layers(hand: Any, space: Any) -> None:
    limit = 2 * (4 * 384 + 2 * 1536)  # what two whole layers take
    deepest, largest = hand.narrower(space, ByWeights(), limit)
    found = [*deepest, *largest]
    assert all(ByWeights().predict(space.genes([arch]))[0] <= limit for arch in found)
    assert all(arch.is_uniform and arch.layers[0] != space.largest.layers[0] for arch in found)
    assert {len(arch.layers) for arch in deepest} == {6}
    assert ByWeights().predict(space.genes(deepest[:1]))[0] == limit
    weights = [ByWeights().predict(space.genes([arch]))[0] for arch in largest]
    assert weights == sorted(weights, reverse=True)
    assert hand.narrower(space, ByWeights(), 1.0) == ([], [])


def test_a_random_net_uses_the_limit_and_follows_its_seed(
    hand: Any, space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "NUM_DRAWN", 20)
    drawn = [hand.random_arch(space, ByWeights(), 9000.0, seed) for seed in (1, 1, 2)]
    times = ByWeights().predict(space.genes(drawn))
    assert ((times <= 9000) & (times >= 8100)).all()
    assert drawn[0] == drawn[1] != drawn[2]
    monkeypatch.setattr(hand, "MAX_DRAWS", 1)
    with pytest.raises(SystemExit, match="no random architecture"):
        hand.random_arch(space, ByWeights(), 1.0, 1)


def row(script: Any, way: str, valid: float, test: float, loss: float = 0.5, seed: int = 1) -> Any:
    return script.Row(
        way=way, seed=seed, share=0.2, learning_rate=3e-4, valid=valid, loss=loss, test=test
    )


def test_choices_are_made_on_validation_and_scored_on_test(script: Any) -> None:
    rows = [
        row(script, script.FIRST, valid=70, test=60),
        row(script, script.DEEP, valid=65, test=90, loss=0.3),
        row(script, script.RANDOM, valid=50, test=50),
        row(script, script.OURS, valid=71, test=61),
        row(script, script.SLICES, valid=70, test=59, loss=0.4),
    ]
    found = {name: x.test for name, x in script.chosen(rows).items()}
    assert found == {script.BEST: 60, script.LEAST: 90, script.FROM_SUPERNET: 50, script.OURS: 59}
    with pytest.raises(SystemExit, match="no net by hand"):
        script.chosen(rows[2:])


def test_the_table_has_means_over_seeds(script: Any) -> None:
    ways = (script.FIRST, script.RANDOM, script.OURS)
    rows = [
        row(script, way, valid=70, test=70 + seed, seed=seed) for way in ways for seed in (1, 2)
    ]
    lines = script.table_rows("modules", rows, [75.0, 77.0])
    assert lines[0] == ["modules", script.BEST, "71.5 ± 0.7"]
    assert lines[-1] == ["modules", "the teacher", "76.0 ± 1.4"]
