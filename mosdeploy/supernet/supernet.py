"""The supernet: one set of trainable tensors that generates the weights of every architecture in a
space.

In: token ids and an architecture. Out: logits, computed by that architecture's plain network
(`Subnet`) on the generated weights; what a layer computes is written there, once. There is no
current architecture: it is an argument.

Shapes: B batch, S source length, T target length, V vocabulary, G length of the encoding.
"""

import functools
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ..config.sections import SupernetConfig
from ..families.translation.network import Subnet, max_embed_dim
from ..spaces.genes import ArchConfig, SearchSpace
from ..spaces.translation import AGGREGATE_NAMES
from .elastic import ElasticEmbedding, ElasticLayerNorm, StateDict, with_prefix
from .mos import MoSBlock, attention_sizes, ffn_sizes


class ElasticEncoderLayer(nn.Module):
    """The largest encoder layer of a space."""

    def __init__(self, space: SearchSpace, encoding_dim: int, config: SupernetConfig) -> None:
        super().__init__()
        dim = max(space.encoder_embed_dim)
        self.qkv_dim = space.qkv_dim
        self.self_attn = MoSBlock(attention_sizes(dim, dim, space.qkv_dim), encoding_dim, None)
        self.self_attn_norm = ElasticLayerNorm(dim)
        self.ffn = MoSBlock(ffn_sizes(dim, max(space.encoder_ffn_dim)), encoding_dim, config)
        self.ffn_norm = ElasticLayerNorm(dim)

    def generate(self, dim: int, ffn_dim: int, encoding: Tensor, router_dropout: bool) -> StateDict:
        """StateDict of an `EncoderLayer` of these widths."""
        own = attention_sizes(dim, dim, self.qkv_dim)
        return with_prefix(
            self_attn=self.self_attn.generate(own, encoding, router_dropout),
            self_attn_norm=self.self_attn_norm.generate(dim),
            ffn_norm=self.ffn_norm.generate(dim),
        ) | self.ffn.generate(ffn_sizes(dim, ffn_dim), encoding, router_dropout)


class ElasticDecoderLayer(nn.Module):
    """The largest decoder layer of a space."""

    def __init__(self, space: SearchSpace, encoding_dim: int, config: SupernetConfig) -> None:
        super().__init__()
        dim, memory_dim = max(space.decoder_embed_dim), max(space.encoder_embed_dim)
        self.qkv_dim = space.qkv_dim
        self.self_attn = MoSBlock(attention_sizes(dim, dim, space.qkv_dim), encoding_dim, None)
        self.self_attn_norm = ElasticLayerNorm(dim)
        self.cross_attn = MoSBlock(
            attention_sizes(dim, memory_dim, space.qkv_dim), encoding_dim, None
        )
        self.cross_attn_norm = ElasticLayerNorm(dim)
        self.ffn = MoSBlock(ffn_sizes(dim, max(space.decoder_ffn_dim)), encoding_dim, config)
        self.ffn_norm = ElasticLayerNorm(dim)

    def generate(
        self, dim: int, memory_dim: int, ffn_dim: int, encoding: Tensor, router_dropout: bool
    ) -> StateDict:
        """StateDict of a `DecoderLayer` of these widths."""
        own, cross = (
            attention_sizes(dim, dim, self.qkv_dim),
            attention_sizes(dim, memory_dim, self.qkv_dim),
        )
        return with_prefix(
            self_attn=self.self_attn.generate(own, encoding, router_dropout),
            self_attn_norm=self.self_attn_norm.generate(dim),
            cross_attn=self.cross_attn.generate(cross, encoding, router_dropout),
            cross_attn_norm=self.cross_attn_norm.generate(dim),
            ffn_norm=self.ffn_norm.generate(dim),
        ) | self.ffn.generate(ffn_sizes(dim, ffn_dim), encoding, router_dropout)


class Supernet(nn.Module):
    """All architectures of a space in one set of weights.

    Parameters
    ----------
    space
        What the architectures may be.
    vocab_size
        Rows of the shared embedding table.
    config
        How weights are shared (routing, experts, router) and the dropout rates of the largest
        network.
    """

    def __init__(
        self, space: SearchSpace, vocab_size: int, config: SupernetConfig, pad_id: int = 0
    ) -> None:
        super().__init__()
        self.space = space
        self.vocab_size = vocab_size
        self.config = config
        self.pad_id = pad_id
        encoding_dim = (
            space.num_genes if config.router_input == "per_layer" else len(AGGREGATE_NAMES)
        )
        self.embed = ElasticEmbedding(vocab_size, max_embed_dim(space), pad_id)
        self.encoder_layers = nn.ModuleList(
            ElasticEncoderLayer(space, encoding_dim, config)
            for _ in range(max(space.encoder_layers))
        )
        self.decoder_layers = nn.ModuleList(
            ElasticDecoderLayer(space, encoding_dim, config)
            for _ in range(max(space.decoder_layers))
        )
        pre = space.norm == "pre"
        self.encoder_norm = ElasticLayerNorm(max(space.encoder_embed_dim)) if pre else None
        self.decoder_norm = ElasticLayerNorm(max(space.decoder_embed_dim)) if pre else None
        self._last: _Generated | None = None

    def forward(
        self,
        src: Tensor,
        prev: Tensor,
        arch: ArchConfig,
        weights: StateDict | None = None,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        """Logits of each next token under one architecture.

        Parameters
        ----------
        src, prev
            Source ids (B, S) padded with `pad_id`, and earlier target ids (B, T), int64.
        weights
            What `generate` gave for this architecture, to be used for several batches; None
            generates them. In eval mode without gradients, those of the last architecture are kept
            until a parameter changes.
        activation_checkpointing
            Keep of each layer its inputs alone, and compute the rest again in the backward pass.

        Returns
        -------
        Tensor
            (B, T, V)

        Raises
        ------
        ArchError
            If the architecture is not in the space.
        """
        subnet = self.skeleton(arch).train(self.training)
        if weights is None:
            weights = self._weights(arch)
        logits: Tensor = torch.func.functional_call(
            subnet, weights, (src, prev, activation_checkpointing), strict=True
        )
        return logits

    def skeleton(self, arch: ArchConfig) -> Subnet:
        """Build the plain network of an architecture without weights, to be leaf_weights or given
        generated ones.
        """
        with torch.device("meta"):
            return Subnet(arch, self.space, self.vocab_size, self.pad_id, self.config)

    def generate(self, arch: ArchConfig, router_dropout: bool) -> StateDict:
        """Generate the dense weights of an architecture, under the names of `Subnet.state_dict`,
        differentiable.

        Mixing keeps the precision of the experts under autocast too: bf16 begins at the matrix
        products of the network.

        Raises
        ------
        ArchError
            If the architecture is not in the space.
        """
        if torch.is_grad_enabled():
            self._last = None  # a step may follow, and fused optimisers change parameters but not their versions
        encoding = self.encode(arch)
        with torch.autocast(encoding.device.type, enabled=False):
            return with_prefix(**self._generate(arch, encoding, router_dropout))

    def encode(self, arch: ArchConfig) -> Tensor:
        """What the routers see of an architecture: float32 (G,), in [0, 1], on the supernet's
        device.
        """
        values = _encoding(self.space, arch, self.config.router_input)
        return torch.tensor(values, dtype=torch.float32, device=self.embed.weight.device)

    def _weights(self, arch: ArchConfig) -> StateDict:
        if self.training or torch.is_grad_enabled():
            return self.generate(arch, router_dropout=self.training)
        state = tuple((parameter.data_ptr(), parameter._version) for parameter in self.parameters())
        if self._last is None or (self._last.arch, self._last.state) != (arch, state):
            self._last = _Generated(arch, state, self.generate(arch, router_dropout=False))
        return self._last.weights

    def _generate(
        self, arch: ArchConfig, encoding: Tensor, router_dropout: bool
    ) -> dict[str, StateDict]:
        e, d = arch.encoder_embed_dim, arch.decoder_embed_dim
        parts = {"embed": self.embed.generate(max(e, d))}
        for i, wanted in enumerate(arch.encoder_layers):
            encoder_layer = cast("ElasticEncoderLayer", self.encoder_layers[i])
            parts[f"encoder.layers.{i}"] = encoder_layer.generate(
                e, wanted.ffn_dim, encoding, router_dropout
            )
        for i, want in enumerate(arch.decoder_layers):
            decoder_layer = cast("ElasticDecoderLayer", self.decoder_layers[i])
            parts[f"decoder.layers.{i}"] = decoder_layer.generate(
                d, e, want.ffn_dim, encoding, router_dropout
            )
        if self.encoder_norm is not None and self.decoder_norm is not None:
            parts["encoder.norm"] = self.encoder_norm.generate(e)
            parts["decoder.norm"] = self.decoder_norm.generate(d)
        return parts


class _Generated(NamedTuple):
    """StateDict of an architecture, and addresses and versions of the parameters that they were
    generated from.
    """

    arch: ArchConfig
    state: tuple[tuple[int, int], ...]
    weights: StateDict


@functools.lru_cache(maxsize=4096)
def _encoding(space: SearchSpace, arch: ArchConfig, router_input: str) -> tuple[float, ...]:
    if router_input == "per_layer":
        return tuple(space.encode(arch).tolist())
    return tuple((space.aggregate(arch) / space.aggregate(space.largest)).tolist())
