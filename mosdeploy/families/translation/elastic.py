"""The largest encoder-decoder of a space, which generates the weights of every smaller one."""

from typing import cast

import torch
from torch import Tensor, nn

from ...config.sections import SupernetConfig
from ...spaces.genes import ArchConfig
from ...spaces.translation import TranslationArch, TranslationSpace
from ...supernet.elastic import ElasticEmbedding, ElasticLayerNorm, StateDict, with_prefix
from ...supernet.layers import start_near_identity
from ...supernet.mos import ElasticLayer
from ...supernet.supernet import Supernet, drawn
from .network import TranslationSubnet
from .tokenizer import PAD_ID


class ElasticTranslation(nn.Module):
    """The largest weights of a space: what a `Supernet` of translations wraps."""

    def __init__(self, space: TranslationSpace, vocab_size: int, config: SupernetConfig) -> None:
        super().__init__()
        self.space = space
        self.vocab_size = vocab_size
        self.config = config
        e = max(space.encoder_embed_dim)
        d = max(space.decoder_embed_dim)
        genes = space.num_genes
        # the order of what follows is that of the random draws, and of the optimiser's state
        self.embed = ElasticEmbedding(vocab_size, space.max_embed_dim, PAD_ID)
        self.encoder_layers = nn.ModuleList(
            ElasticLayer(e, space.qkv_dim, max(space.encoder_ffn_dim), genes, config)
            for _ in range(max(space.encoder_layers))
        )
        self.decoder_layers = nn.ModuleList(
            ElasticLayer(d, space.qkv_dim, max(space.decoder_ffn_dim), genes, config, memory_dim=e)
            for _ in range(max(space.decoder_layers))
        )
        self.encoder_norm = ElasticLayerNorm(e) if space.pre_norm else None
        self.decoder_norm = ElasticLayerNorm(d) if space.pre_norm else None
        if space.pre_norm:
            start_near_identity(self.encoder_layers)

    def generate(self, arch: ArchConfig, encoding: Tensor, router_dropout: bool) -> StateDict:
        """Dense weights of an architecture, under the names of `TranslationSubnet.state_dict`, from
        its encoding (G,).
        """
        assert isinstance(arch, TranslationArch)
        e = arch.encoder_embed_dim
        d = arch.decoder_embed_dim
        # one table serves both sides: a side narrower than the other reads its first columns
        parts = {"embed": self.embed.generate(max(e, d))}
        # the first layers of the largest stack: a shallower architecture has no others
        for i, layer in enumerate(arch.encoder_layers):
            elastic = cast("ElasticLayer", self.encoder_layers[i])
            widths = (e, self.space.qkv_dim, layer.ffn_dim)
            parts[f"encoder.layers.{i}"] = elastic.generate(*widths, encoding, router_dropout)
        for i, decoder_layer in enumerate(arch.decoder_layers):
            elastic = cast("ElasticLayer", self.decoder_layers[i])
            widths = (d, self.space.qkv_dim, decoder_layer.ffn_dim)
            parts[f"decoder.layers.{i}"] = elastic.generate(*widths, encoding, router_dropout, e)
        if self.encoder_norm is not None and self.decoder_norm is not None:
            parts["encoder.norm"] = self.encoder_norm.generate(e)
            parts["decoder.norm"] = self.decoder_norm.generate(d)
        return with_prefix(**parts)

    def skeleton(self, arch: ArchConfig) -> TranslationSubnet:
        """The plain network of an architecture, its weights on the meta device."""
        own_arch = cast("TranslationArch", arch)  # the subnet checks it
        # no memory is taken and nothing is drawn
        with torch.device("meta"):
            return TranslationSubnet(own_arch, self.space, self.vocab_size, self.config)


def fresh_supernet(
    space: TranslationSpace, vocab_size: int, config: SupernetConfig, seed: int
) -> Supernet:
    """A supernet with the initial weights of a seed."""
    with drawn(space, seed):
        return Supernet(space, ElasticTranslation(space, vocab_size, config), config)


def fresh_subnet(
    arch: TranslationArch,
    space: TranslationSpace,
    vocab_size: int,
    config: SupernetConfig,
    seed: int,
) -> TranslationSubnet:
    """A subnet with the initial weights of a seed."""
    with drawn(space, seed):
        return TranslationSubnet(arch, space, vocab_size, config)
