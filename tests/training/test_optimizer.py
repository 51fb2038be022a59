"""Which parameters decay, and by how much."""

import torch
from torch import nn

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.supernet.mos import MoSLinear
from mosdeploy.training.optimizer import make_optimizer


def stepped(weight_decay: float) -> dict[str, torch.Tensor]:
    """Parameters after a step of rate 0.1 without gradients; all were 1."""
    net = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), MoSLinear(2, 4, num_experts=2))
    for parameter in net.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    config = TrainingConfig(learning_rate=0.1, weight_decay=weight_decay)
    make_optimizer(net, config).step()
    return {name: x.detach() for name, x in net.named_parameters()}


def test_matrices_alone_decay_by_rate_times_decay() -> None:
    for name, found in stepped(0.5).items():
        expected = 1 - 0.1 * 0.5 if name in ("0.weight", "2.weight") else 1.0
        torch.testing.assert_close(found, torch.full_like(found, expected))


def test_without_decay_nothing_moves() -> None:
    assert all(bool((found == 1).all()) for found in stepped(0.0).values())
