"""Weights between those that a subnet inherits and fresh ones: shrink and perturb (Ash & Adams,
NeurIPS 2020).
"""

import torch
from torch import nn


@torch.no_grad()
def shrink_and_perturb(net: nn.Module, fresh: nn.Module, inherited_share: float) -> None:
    """Replace each matrix by so much of itself and the rest of the same one with fresh weights, in
    place.
    """
    drawn = dict(fresh.named_parameters())
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            weight.copy_(torch.lerp(drawn[name].to(weight), weight, inherited_share))
