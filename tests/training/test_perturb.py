"""Weights between inherited and fresh ones."""

import torch
from torch import nn

from mosdeploy.training.perturb import shrink_and_perturb


def nets() -> tuple[nn.Sequential, nn.Sequential]:
    inherited, fresh = (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)) for _ in range(2))
    for parameter in inherited.parameters():
        nn.init.constant_(parameter, 10.0)
    return inherited, fresh


def test_matrices_are_mixed_and_vectors_stay() -> None:
    inherited, fresh = nets()
    shrink_and_perturb(inherited, fresh, 0.25)
    named = dict(inherited.named_parameters())
    matrix = named.pop("0.weight")
    torch.testing.assert_close(matrix, 2.5 + 0.75 * fresh[0].weight)
    assert all(bool((vector == 10.0).all()) for vector in named.values())
    assert matrix.requires_grad


def test_all_of_it_changes_nothing() -> None:
    inherited, fresh = nets()
    shrink_and_perturb(inherited, fresh, 1.0)
    assert all(bool((weight == 10.0).all()) for weight in inherited.parameters())
