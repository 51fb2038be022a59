"""The supernet: one set of trainable tensors that generates the weights of every architecture in a
space.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..config.sections import SupernetConfig
from ..errors import MosdeployError
from ..spaces.genes import ArchConfig, SearchSpace
from .elastic import ElasticNetwork, StateDict, Subnet


class Supernet(nn.Module):
    """All architectures of a space in one set of weights."""

    def __init__(self, space: SearchSpace, network: ElasticNetwork, config: SupernetConfig) -> None:
        super().__init__()
        self.space = space
        self.network = network
        self.config = config

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return self.network.vocab_size

    def forward(
        self,
        inputs: tuple[Tensor, ...],
        arch: ArchConfig,
        weights: StateDict | None = None,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        """Logits under one architecture."""
        # modules without weights are cheap to build, so that no architecture is ever current
        subnet = self.skeleton(arch).train(self.training)
        if weights is None:
            weights = self.generate(arch, router_dropout=self.training)
        options = {"activation_checkpointing": activation_checkpointing}
        # strict: a weight that is not replaced would stay on the meta device
        logits: Tensor = torch.func.functional_call(subnet, weights, inputs, options, strict=True)
        return logits

    def skeleton(self, arch: ArchConfig) -> Subnet:
        """Build the plain network of an architecture without weights, on the meta device."""
        return self.network.skeleton(arch)

    def generate(self, arch: ArchConfig, router_dropout: bool) -> StateDict:
        """Generate the dense weights of an architecture, under the names of its subnet,
        differentiable.
        """
        encoding = self.encode(arch)  # (G,)
        # a caller may generate inside autocast, which would run the routers in bf16
        with torch.autocast(encoding.device.type, enabled=False):
            return self.network.generate(arch, encoding, router_dropout)

    def encode(self, arch: ArchConfig) -> Tensor:
        """Encode an architecture for the routers: float32 (G,), in [0, 1], on the supernet's
        device.
        """
        return torch.from_numpy(self.space.encode(arch)).to(next(self.parameters()).device)


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


@contextlib.contextmanager
def drawn(space: SearchSpace, seed: int) -> Iterator[None]:
    """Draw the weights of a new network by a seed; the global generator is left as it was."""
    # of the CPU's generator alone: that is where the weights are drawn
    with memory_errors(space), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def memory_errors(space: SearchSpace) -> Iterator[None]:
    """Turn torch's failure to get memory for a network of a space into a MosdeployError."""
    try:
        yield
    except RuntimeError as error:  # torch has no type of its own for the processor's memory
        if "can't allocate memory" not in str(error):
            raise
        given = {name: getattr(space, name) for name in type(space).model_fields}
        widths = [
            f"{name} = {x if isinstance(x, int) else max(x):,}"
            for name, x in given.items()
            if name.endswith("_dim") and x
        ]
        raise MosdeployError(
            f"no memory for a network as large as [space] allows, up to {', '.join(widths)}; give "
            "smaller ones: `mosdeploy train --dry-run` tells what they take"
        ) from error
