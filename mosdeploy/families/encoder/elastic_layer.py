"""The largest layer of an encoder, which generates the weights of every smaller one."""

from torch import Tensor, nn

from ...config.sections import SupernetConfig
from ...spaces.encoder import EncoderSpace
from ...spaces.encoder_choices import BertLayerConfig
from ...supernet.elastic import ElasticLayerNorm, ElasticLinear, StateDict, part_of, with_prefix
from ...supernet.mos import MoSBlock, Size, attention_sizes, encoding_dim, ffn_sizes
from .network import pass_through


class ElasticBertLayer(nn.Module):
    """The largest layer."""

    def __init__(self, space: EncoderSpace, config: SupernetConfig) -> None:
        super().__init__()
        self.attention_dim = space.attention_dim
        outer_dim = max(space.embed_dim)
        dim = max(space.layer_dim) if space.layer_dim else outer_dim
        largest = BertLayerConfig(ffn_dim=max(space.ffn_dim), heads=max(space.heads))
        length = encoding_dim(space, config)
        self.self_attn = MoSBlock(self._attention_sizes(dim, largest), length, config)
        self.self_attn_norm = ElasticLayerNorm(dim)
        self.ffn = MoSBlock(ffn_sizes(dim, largest.ffn_dim), length, config)
        self.ffn_norm = ElasticLayerNorm(dim)
        self.narrow = self.widen = None
        if space.layer_dim:
            self.narrow = ElasticLinear(outer_dim, dim)
            self.widen = ElasticLinear(dim, outer_dim)
            pass_through(self.narrow, self.widen)

    def generate(
        self, outer_dim: int, layer: BertLayerConfig, encoding: Tensor, router_dropout: bool
    ) -> StateDict:
        """Weights of a layer of these widths, between states of `outer_dim`."""
        dim = layer.dim or outer_dim
        sizes = self._attention_sizes(dim, layer)
        parts = {
            "self_attn": self.self_attn.generate(sizes, encoding, router_dropout),
            "self_attn_norm": self.self_attn_norm.generate(dim),
            "ffn_norm": self.ffn_norm.generate(dim),
        }
        if self.narrow is not None and self.widen is not None:
            parts["narrow"] = self.narrow.generate(outer_dim, dim)
            parts["widen"] = self.widen.generate(dim, outer_dim)
        # the FFN has no prefix: in the plain layer no module stands around fc1 and fc2
        ffn = self.ffn.generate(ffn_sizes(dim, layer.ffn_dim), encoding, router_dropout)
        return with_prefix(**parts) | ffn

    def start_from(self, weights: StateDict, encoding: Tensor) -> None:
        """Set experts and routers so that the largest layer, of this encoding, gets the given
        weights.
        """
        self.self_attn.start_from(part_of(weights, "self_attn"), encoding)
        self.ffn.start_from(weights, encoding)

    def _attention_sizes(self, dim: int, layer: BertLayerConfig) -> dict[str, Size]:
        return attention_sizes(dim, dim, self.attention_dim(dim, layer.heads))
