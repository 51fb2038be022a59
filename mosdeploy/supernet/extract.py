"""The way out of a supernet: one architecture with ordinary dense weights."""

import torch

from ..spaces.genes import ArchConfig
from .elastic import Subnet
from .supernet import Supernet


@torch.no_grad()
def extract(net: Supernet, arch: ArchConfig) -> Subnet:
    """Collapse a supernet to one architecture: routers are evaluated once, experts mixed once, all
    else sliced.
    """
    subnet = net.skeleton(arch)
    # without router dropout, so that the same architecture always gives the same weights
    weights = net.generate(arch, router_dropout=False)
    # cloned, since slices are views of the supernet's parameters; assigned, since tensors on the
    # meta device cannot be copied into
    subnet.load_state_dict({name: weight.clone() for name, weight in weights.items()}, assign=True)
    return subnet.eval()
