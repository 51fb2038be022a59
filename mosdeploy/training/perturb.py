"""Weights between those that a subnet inherits and fresh ones: shrink and perturb (Ash & Adams,
NeurIPS 2020).

After minutes of training, a subnet that goes on from all that its supernet learned ends no better
than one from scratch; from part of it, and fresh weights for the rest, it ends below both
(`benchmarks/inherited_share.json`).
"""

import torch
from torch import nn


@torch.no_grad()
def shrink_and_perturb(net: nn.Module, fresh: nn.Module, inherited_share: float) -> None:
    """Replace each matrix by so much of itself and the rest of the same one with fresh weights, in
    place. Vectors, those of norms and biases, stay.

    Parameters
    ----------
    net
        A subnet with the weights that it inherits.
    fresh
        The same network with initial weights.
    inherited_share
        Between 0, for the fresh matrices, and 1, which leaves all as it is.

    Examples
    --------
    >>> net, fresh = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> expected = 0.4 * net.weight + 0.6 * fresh.weight
    >>> shrink_and_perturb(net, fresh, 0.4)
    >>> bool(torch.allclose(net.weight, expected, atol=1e-6))
    True
    """
    drawn = dict(fresh.named_parameters())
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            weight.copy_(torch.lerp(drawn[name].to(weight), weight, inherited_share))
