"""The largest encoder of a space, which generates the weights of every smaller one."""

import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...config.encoder import AGNOSTIC, EncoderRunConfig, TaskKind
from ...config.sections import SupernetConfig
from ...errors import ConfigError
from ...spaces.encoder import BertLayerConfig, EncoderArch, EncoderSpace
from ...spaces.genes import ArchConfig
from ...supernet.elastic import (
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
    StateDict,
    part_of,
    with_prefix,
)
from ...supernet.mos import ElasticLayer
from ...supernet.supernet import Supernet, drawn, extract
from .dataset import center_and_spread, label_array
from .examples import Example
from .network import OUTPUT_STD, EncoderSubnet, PooledHead, no_scale, pass_through

_log = logging.getLogger(__name__)

SERVED: tuple[TaskKind, ...] = ("classification", "regression", "tagging")
"""Kinds that are learned from labels."""

_HEAD = "network.head."


def skeleton(
    arch: ArchConfig, space: EncoderSpace, vocab_size: int, config: SupernetConfig
) -> EncoderSubnet:
    """The plain network of an architecture, its weights on the meta device."""
    # no memory is taken and nothing is drawn
    with torch.device("meta"):
        return EncoderSubnet(cast("EncoderArch", arch), space, vocab_size, config)


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
        dense_dim = dim if self.norm is None else self.table_dim or dim
        parts: dict[str, StateDict] = {}
        if self.dense is not None:
            parts["dense"] = self.dense.generate(dim, dense_dim)
        if self.norm is not None:
            parts["norm"] = self.norm.generate(dense_dim)
        if self.out is not None:
            parts["out"] = self.out.generate(dim, self.out.weight.shape[0])
        own = {"bias": self.bias, "scale": self.scale}
        return with_prefix(**parts) | {name: x for name, x in own.items() if x is not None}


class ElasticBertLayer(ElasticLayer):
    """The largest layer, with the linear layers around a bottleneck."""

    def __init__(self, space: EncoderSpace, config: SupernetConfig) -> None:
        outer_dim = max(space.embed_dim)
        dim = max(space.layer_dim) if space.layer_dim else outer_dim
        widths = (dim, space.attention_dim(dim, max(space.heads)), max(space.ffn_dim))
        super().__init__(*widths, space.num_genes, config, routes_attention=True)
        self.attention_dim = space.attention_dim
        self.narrow = self.widen = None
        if space.layer_dim:
            self.narrow = ElasticLinear(outer_dim, dim)
            self.widen = ElasticLinear(dim, outer_dim)
            pass_through(self.narrow, self.widen)

    def generate_layer(
        self, outer_dim: int, layer: BertLayerConfig, encoding: Tensor, router_dropout: bool
    ) -> StateDict:
        """Weights of a layer of these widths, between states of `outer_dim`."""
        dim = layer.dim or outer_dim
        widths = (dim, self.attention_dim(dim, layer.heads), layer.ffn_dim)
        weights = self.generate(*widths, encoding, router_dropout)
        if self.narrow is None or self.widen is None:
            return weights
        narrow, widen = self.narrow.generate(outer_dim, dim), self.widen.generate(dim, outer_dim)
        return weights | with_prefix(narrow=narrow, widen=widen)

    def start_from(self, weights: StateDict, encoding: Tensor) -> None:
        """Set experts and routers so that the largest layer, of this encoding, gets the given
        weights.
        """
        self.self_attn.start_from(part_of(weights, "self_attn"), encoding)
        self.ffn.start_from(weights, encoding)


class ElasticEncoder(nn.Module):
    """The largest weights of a space: the network that a `Supernet` of encoders wraps."""

    def __init__(self, space: EncoderSpace, vocab_size: int, config: SupernetConfig) -> None:
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
        self.head = ElasticHead(space, vocab_size)

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
            "head": self.head.generate(d),
        }
        if self.types is not None:
            parts["types"] = self.types.generate(t)
        if self.embed_project is not None:
            parts["embed_project"] = self.embed_project.generate(t, d)
        # the first layers of the largest stack: a shallower architecture has no others
        for i, layer in enumerate(arch.layers):
            elastic = cast("ElasticBertLayer", self.layers[i])
            parts[f"layers.{i}"] = elastic.generate_layer(d, layer, encoding, router_dropout)
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
        # a sliced weight is a view of a parameter; a mixed one is a tensor of its own, which has
        # the given values already
        for name, own in self.generate(self.space.largest, encoding, False).items():
            own.copy_(weights[name])


def fresh_supernet(
    space: EncoderSpace,
    vocab_size: int,
    config: SupernetConfig,
    seed: int,
    start: StateDict | None = None,
) -> Supernet:
    """A supernet with the initial weights of a seed."""
    with drawn(space, seed):
        network = ElasticEncoder(space, vocab_size, config)
        net = Supernet(space, network, config)
        if start is not None:
            network.start_from(start, net.encode(space.largest))
    return net


def fresh_subnet(
    arch: EncoderArch,
    space: EncoderSpace,
    vocab_size: int,
    config: SupernetConfig,
    seed: int,
) -> EncoderSubnet:
    """A subnet with the initial weights of a seed."""
    with drawn(space, seed):
        return EncoderSubnet(arch, space, vocab_size, config)


def sliced_subnet(
    arch: EncoderArch,
    space: EncoderSpace,
    vocab_size: int,
    config: SupernetConfig,
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
    """The largest architecture with the weights of a checkpoint, which passed `check_fits`."""
    largest = cast("EncoderArch", space.largest)
    net = fresh_subnet(largest, space, vocab_size, config, seed)
    state = net.state_dict()
    drawn = []
    for name in sorted(state):
        found = weights.get(name)
        if found is not None and found.shape == state[name].shape:
            state[name] = found
        elif name.split(".")[-2] in ("narrow", "widen"):
            continue  # a checkpoint has no bottlenecks: fresh ones change nothing
        elif name.startswith("head."):
            drawn += [name] if name != "head.scale" else []
        else:
            raise ConfigError(
                f"the checkpoint's weights do not fit the largest architecture of the space: {name}"
                f" is {'missing' if found is None else list(found.shape)}, needed is "
                f"{list(state[name].shape)}; give [space] the checkpoint's sizes"
            )
    if drawn:
        _log.info("drawn anew: %s", ", ".join(drawn))
    net.load_state_dict(state)
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
            if out.bias.any():  # it was trained: its answers stay what they are
                out.weight.div_(spread)
                out.bias.sub_(center).div_(spread)
            head.scale.copy_(torch.tensor([center, spread]))


def serve_task(
    net: Supernet,
    trained: EncoderRunConfig,
    config: EncoderRunConfig,
    seed: int,
    examples: Sequence[Example],
) -> Supernet:
    """Give a supernet that was trained without labels the head of a task."""
    if trained.task.kind not in AGNOSTIC:
        raise ConfigError(
            f"the supernet was trained for one {trained.task.kind}; only those of "
            f"{' and '.join(AGNOSTIC)} serve other tasks"
        )
    if config.task.kind not in SERVED:
        raise ConfigError(
            f"task.kind of a served task is one of {', '.join(SERVED)}, not {config.task.kind}"
        )
    served = fresh_supernet(config.space, net.vocab_size, config.supernet, seed)
    body = {name: x for name, x in net.state_dict().items() if not name.startswith(_HEAD)}
    head = {name: x for name, x in served.state_dict().items() if name.startswith(_HEAD)}
    # strict: a weight of the body that is missing would stay random
    served.load_state_dict(body | head)
    fit_scale(served, label_array(examples))
    return served.eval()
