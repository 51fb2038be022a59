"""Elastic Transformer layers: the largest layer of a stack, whose FFN is mixed from experts."""

from torch import Tensor, nn

from ..config.sections import SupernetConfig
from .elastic import ElasticLayerNorm, StateDict, with_prefix
from .mos import MoSBlock, attention_sizes, ffn_sizes


class ElasticEncoderLayer(nn.Module):
    """The largest encoder layer of a stack."""

    def __init__(
        self, dim: int, qkv_dim: int, ffn_dim: int, encoding_dim: int, config: SupernetConfig
    ) -> None:
        super().__init__()
        self.qkv_dim = qkv_dim
        # this order is that of the random draws: another one gives a seed other weights; None:
        # plain slices, since MoS routes the FFN alone
        self.self_attn = MoSBlock(attention_sizes(dim, dim, qkv_dim), encoding_dim, None)
        self.self_attn_norm = ElasticLayerNorm(dim)
        self.ffn = MoSBlock(ffn_sizes(dim, ffn_dim), encoding_dim, config)
        self.ffn_norm = ElasticLayerNorm(dim)

    def generate(self, dim: int, ffn_dim: int, encoding: Tensor, router_dropout: bool) -> StateDict:
        """Weights of an `EncoderLayer` of these widths."""
        sizes = attention_sizes(dim, dim, self.qkv_dim)
        # the FFN has no prefix: in the plain layer no module stands around fc1 and fc2
        return with_prefix(
            self_attn=self.self_attn.generate(sizes, encoding, router_dropout),
            self_attn_norm=self.self_attn_norm.generate(dim),
            ffn_norm=self.ffn_norm.generate(dim),
        ) | self.ffn.generate(ffn_sizes(dim, ffn_dim), encoding, router_dropout)


class ElasticDecoderLayer(nn.Module):
    """The largest decoder layer of a stack."""

    def __init__(
        self,
        dim: int,
        memory_dim: int,
        qkv_dim: int,
        ffn_dim: int,
        encoding_dim: int,
        config: SupernetConfig,
    ) -> None:
        super().__init__()
        self.qkv_dim = qkv_dim
        self.self_attn = MoSBlock(attention_sizes(dim, dim, qkv_dim), encoding_dim, None)
        self.self_attn_norm = ElasticLayerNorm(dim)
        self.cross_attn = MoSBlock(attention_sizes(dim, memory_dim, qkv_dim), encoding_dim, None)
        self.cross_attn_norm = ElasticLayerNorm(dim)
        self.ffn = MoSBlock(ffn_sizes(dim, ffn_dim), encoding_dim, config)
        self.ffn_norm = ElasticLayerNorm(dim)

    def generate(
        self, dim: int, memory_dim: int, ffn_dim: int, encoding: Tensor, router_dropout: bool
    ) -> StateDict:
        """Weights of a `DecoderLayer` of these widths."""
        self_sizes = attention_sizes(dim, dim, self.qkv_dim)
        # keys and values read the memory's active width, queries and output this stack's
        cross_sizes = attention_sizes(dim, memory_dim, self.qkv_dim)
        return with_prefix(
            self_attn=self.self_attn.generate(self_sizes, encoding, router_dropout),
            self_attn_norm=self.self_attn_norm.generate(dim),
            cross_attn=self.cross_attn.generate(cross_sizes, encoding, router_dropout),
            cross_attn_norm=self.cross_attn_norm.generate(dim),
            ffn_norm=self.ffn_norm.generate(dim),
        ) | self.ffn.generate(ffn_sizes(dim, ffn_dim), encoding, router_dropout)
