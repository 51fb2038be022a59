import pytest

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.errors import ConfigError
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training.cost import training_cost

CONFIG = TrainingConfig(tokens_per_batch=64, grad_accum_steps=2, compute="cpu", threads=1)


def test_a_trial_counts_what_training_holds(space: TranslationSpace, vocab_size: int) -> None:
    supernet = SupernetConfig(router_hidden_dim=8)
    cost = training_cost(space, vocab_size, supernet, CONFIG, num_pieces=7, num_timed=2)
    assert cost.num_parameters == sum(
        p.numel() for p in Supernet(space, vocab_size, supernet).parameters()
    )
    assert (cost.parameters_bytes, cost.optimizer_bytes) == (
        4 * cost.num_parameters,
        8 * cost.num_parameters,
    )
    assert cost.peak_bytes > cost.parameters_bytes + cost.optimizer_bytes
    assert (
        cost.target_tokens == 3 * 2 * (64 // 8) * 8
    )  # two batches each of eight pairs, seven pieces and an end
    assert cost.update_s > 0


def test_of_many_batches_two_are_tried(space: TranslationSpace, vocab_size: int) -> None:
    many = CONFIG.model_copy(update={"grad_accum_steps": 10_000})
    cost = training_cost(
        space, vocab_size, SupernetConfig(router_hidden_dim=8), many, num_pieces=7, num_timed=1
    )
    assert cost.target_tokens == 3 * 10_000 * 64


def test_an_error_of_the_trial_comes_back(space: TranslationSpace, vocab_size: int) -> None:
    with pytest.raises(ConfigError, match=r"tokens_per_batch = 64 cannot hold"):
        training_cost(space, vocab_size, SupernetConfig(), CONFIG, num_pieces=64, num_timed=1)
