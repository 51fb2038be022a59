"""The largest encoder of a space, which generates the weights of every smaller one."""

import json
import logging
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...config.encoder import EncoderSupernetConfig
from ...config.sections import SupernetConfig
from ...errors import ConfigError
from ...record import parse
from ...spaces.encoder import EncoderSpace
from ...spaces.encoder_choices import EncoderArch
from ...spaces.genes import ArchConfig
from ...supernet.elastic import (
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
    StateDict,
    part_of,
    with_prefix,
)
from ...supernet.supernet import Supernet, extract, memory_errors
from .elastic_layer import ElasticBertLayer
from .label_scale import SCALE, center_and_spread
from .network import OUTPUT_STD, EncoderSubnet, PooledHead, no_scale

_log = logging.getLogger(__name__)


def skeleton(
    arch: ArchConfig, space: EncoderSpace, vocab_size: int, config: SupernetConfig
) -> EncoderSubnet:
    """The plain network of an architecture, its weights on the meta device."""
    own_arch = cast("EncoderArch", arch)  # the subnet checks it
    # no memory is taken and nothing is drawn
    with torch.device("meta"):
        return EncoderSubnet(own_arch, space, vocab_size, config)


class ElasticHead(nn.Module):
    """The largest head, which is sliced; `scale` is as in `PooledHead`."""

    scale: Tensor | None

    def __init__(self, space: EncoderSpace, vocab_size: int) -> None:
        super().__init__()
        self.table_dim = space.table_dim
        dim = max(space.embed_dim)
        self.dense = self.out = self.norm = self.bias = None
        is_pooled = space.head == "pooled"
        self.register_buffer("scale", no_scale(space.num_outputs) if is_pooled else None)
        if is_pooled:
            self.dense = ElasticLinear(dim, dim)
        if space.head == "masked-lm":
            self.dense = ElasticLinear(dim, space.embedding_dim)
            self.norm = ElasticLayerNorm(space.embedding_dim)
            self.bias = nn.Parameter(torch.zeros(vocab_size))
        if space.num_outputs:
            self.out = ElasticLinear(dim, space.num_outputs)
            nn.init.normal_(self.out.weight, std=OUTPUT_STD)

    def generate(self, dim: int) -> StateDict:
        """Weights of the head of a network of this width; none for `vector`."""
        parts: dict[str, StateDict] = {}
        own: StateDict = {}
        dense_dim = dim
        if self.norm is not None and self.bias is not None:
            dense_dim = self.table_dim or dim
            parts["norm"] = self.norm.generate(dense_dim)
            own["bias"] = self.bias
        if self.dense is not None:
            parts["dense"] = self.dense.generate(dim, dense_dim)
        if self.out is not None:
            parts["out"] = self.out.generate(dim, self.out.weight.shape[0])
        if self.scale is not None:
            own["scale"] = self.scale
        return with_prefix(**parts) | own


class ElasticEncoder(nn.Module):
    """The largest weights of a space: what a `Supernet` of encoders wraps."""

    def __init__(self, space: EncoderSpace, vocab_size: int, config: EncoderSupernetConfig) -> None:
        super().__init__()
        self.space = space
        self.vocab_size = vocab_size
        self.config = config
        t = space.embedding_dim
        # the order of what follows is that of the random draws, and of the optimiser's state
        self.embed = ElasticEmbedding(vocab_size, t, None)
        self.positions = ElasticEmbedding(space.max_positions, t, None)
        self.types = ElasticEmbedding(space.num_types, t, None) if space.num_types else None
        self.embed_norm = ElasticLayerNorm(t)
        self.embed_project = ElasticLinear(t, max(space.embed_dim)) if space.table_dim else None
        self.layers = nn.ModuleList(
            ElasticBertLayer(space, config) for _ in range(max(space.layers))
        )
        self.head: ElasticHead | nn.ModuleDict = ElasticHead(space, vocab_size)
        if config.head_per_depth:
            self.head = nn.ModuleDict(
                {str(depth): ElasticHead(space, vocab_size) for depth in space.layers}
            )

    def generate(self, arch: ArchConfig, encoding: Tensor, router_dropout: bool) -> StateDict:
        """Dense weights of an architecture, under the names of `EncoderSubnet.state_dict`, from its
        encoding (G,).
        """
        assert isinstance(arch, EncoderArch)
        d = arch.embed_dim
        t = self.space.table_dim or d
        parts = {
            "embed": self.embed.generate(t),
            "positions": self.positions.generate(t),
            "embed_norm": self.embed_norm.generate(t),
            "head": self._head(len(arch.layers)).generate(d),
        }
        if self.types is not None:
            parts["types"] = self.types.generate(t)
        if self.embed_project is not None:
            parts["embed_project"] = self.embed_project.generate(t, d)
        # the first layers of the largest stack: a shallower architecture has no others
        for i, layer in enumerate(arch.layers):
            elastic = cast("ElasticBertLayer", self.layers[i])
            parts[f"layers.{i}"] = elastic.generate(d, layer, encoding, router_dropout)
        return with_prefix(**parts)

    def skeleton(self, arch: ArchConfig) -> EncoderSubnet:
        """The plain network of an architecture, its weights on the meta device."""
        return skeleton(arch, self.space, self.vocab_size, self.config)

    @torch.no_grad()
    def start_from(self, weights: StateDict, encoding: Tensor) -> None:
        """Set all weights so that the largest architecture, of this encoding (G,), gets the given
        ones; see `MoSBlock.start_from` for those that are mixed from experts.
        """
        for i, layer in enumerate(self.layers):
            cast("ElasticBertLayer", layer).start_from(part_of(weights, f"layers.{i}"), encoding)
        for name, own in self.generate(self.space.largest, encoding, False).items():
            # what is sliced is a view of a parameter; what is mixed is a tensor of its own, which
            # is equal already
            own.copy_(weights[name])
        start = part_of(weights, "head")
        for depth in self.space.layers:
            for name, own in self._head(depth).generate(max(self.space.embed_dim)).items():
                own.copy_(start[name])

    def _head(self, depth: int) -> ElasticHead:
        """The head of architectures of so many layers."""
        found = self.head[str(depth)] if isinstance(self.head, nn.ModuleDict) else self.head
        return cast("ElasticHead", found)


def fresh_supernet(
    space: EncoderSpace,
    vocab_size: int,
    config: EncoderSupernetConfig,
    seed: int,
    start: StateDict | None = None,
) -> Supernet:
    """A supernet with the initial weights of a seed; the global generator is left as it was."""
    # of the CPU's generator alone: that is where the weights are drawn
    with memory_errors(space), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = ElasticEncoder(space, vocab_size, config)
        net = Supernet(space, network, config)
        if start is not None:
            network.start_from(start, net.encode(space.largest))
    return net


def build_supernet(space_json: str, vocab_size: int, config_json: str) -> Supernet:
    """A supernet as a file describes it, to receive the file's weights; for `load_supernet`."""
    space = parse(EncoderSpace, json.loads(space_json), "space")
    config = parse(EncoderSupernetConfig, json.loads(config_json), "config")
    # any seed will do: the file's weights replace what is drawn
    return fresh_supernet(space, vocab_size, config, seed=0)


def fresh_subnet(
    arch: EncoderArch,
    space: EncoderSpace,
    vocab_size: int,
    config: SupernetConfig,
    seed: int,
) -> EncoderSubnet:
    """A subnet with the initial weights of a seed; the global generator is left as it was."""
    with memory_errors(space), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return EncoderSubnet(arch, space, vocab_size, config)


def sliced_subnet(
    arch: EncoderArch,
    space: EncoderSpace,
    vocab_size: int,
    config: EncoderSupernetConfig,
    start: StateDict,
) -> EncoderSubnet:
    """A subnet whose weights are the first rows and columns of the largest architecture's, and its
    first layers.
    """
    plain = config.model_copy(update={"routing": "none"})
    # any seed will do: all that is drawn is replaced
    net = fresh_supernet(space, vocab_size, plain, seed=0, start=start)
    return cast("EncoderSubnet", extract(net, arch))


def teacher_network(
    space: EncoderSpace,
    vocab_size: int,
    config: SupernetConfig,
    weights: StateDict,
    seed: int,
) -> EncoderSubnet:
    """The largest architecture with the weights of a checkpoint, which `check_fits` was
    called on.
    """
    largest = cast("EncoderArch", space.largest)
    net = fresh_subnet(largest, space, vocab_size, config, seed)
    state = net.state_dict()
    fitting = {
        name for name in state if name in weights and weights[name].shape == state[name].shape
    }
    wrong = sorted(state.keys() - fitting)
    # a checkpoint has no bottlenecks: fresh ones change nothing
    fresh = [name for name in wrong if name.startswith("head.") or _is_bottleneck(name)]
    if len(fresh) < len(wrong):
        lacking = next(name for name in wrong if name not in fresh)
        raise ConfigError(
            f"the checkpoint's weights do not fit the largest architecture of the space: {lacking} "
            f"is {_shape(weights.get(lacking))}, needed is {_shape(state[lacking])}; give [space] "
            "the checkpoint's sizes"
        )
    # nor is the scale of labels drawn
    drawn = [name for name in fresh if name != SCALE and not _is_bottleneck(name)]
    if drawn:
        _log.info("drawn anew: %s", ", ".join(drawn))
    net.load_state_dict({name: weights[name] for name in fitting}, strict=False)
    return net


@torch.no_grad()
def fit_scale(net: nn.Module, labels: npt.NDArray[np.float64]) -> None:
    """Give the heads of a regression, if the network has any, the scale of the labels it is to be
    trained on, (N,).
    """
    center, spread = center_and_spread(labels)
    for head in net.modules():
        if isinstance(head, PooledHead | ElasticHead) and head.scale is not None:
            out = cast("ElasticLinear | nn.Linear", head.out)
            if out.bias.any():
                out.weight.div_(spread)
                out.bias.sub_(center).div_(spread)
            head.scale.copy_(torch.tensor([center, spread]))


def _is_bottleneck(name: str) -> bool:
    return name.split(".")[-2] in ("narrow", "widen")


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))
