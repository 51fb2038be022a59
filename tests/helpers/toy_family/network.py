"""The toy's networks: a table, FFNs with a residual stream, logits by the same table."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.supernet.elastic import ElasticEmbedding, StateDict, Subnet, with_prefix
from mosdeploy.supernet.layers import Embedding, initialise_table
from mosdeploy.supernet.mos import MoSBlock, ffn_sizes
from mosdeploy.supernet.supernet import Supernet

from .words import CipherArch, CipherSpace


class CipherSubnet(Subnet):
    """Logits (B, L, V) from ids (B, L)."""

    def __init__(self, arch: CipherArch, vocab_size: int, dropout: float) -> None:
        super().__init__()
        self.arch = arch
        self.dropout = dropout
        self.embed = Embedding(vocab_size, arch.width)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "fc1": nn.Linear(arch.width, layer.hidden),
                    "fc2": nn.Linear(layer.hidden, arch.width),
                }
            )
            for layer in arch.layers
        )

    def forward(self, ids: Tensor, activation_checkpointing: bool = False) -> Tensor:
        x = self.embed(ids) * self.arch.width**0.5
        for layer in self.layers:
            y = layer["fc2"](F.relu(layer["fc1"](x)))
            x = x + F.dropout(y, self.dropout, self.training)
        return F.linear(x, self.embed.weight)


class ElasticCipher(nn.Module):
    def __init__(self, space: CipherSpace, vocab_size: int, config: SupernetConfig) -> None:
        super().__init__()
        self.space = space
        self.vocab_size = vocab_size
        self.config = config
        self.embed = ElasticEmbedding(vocab_size, max(space.width), pad_id=0)
        sizes = ffn_sizes(max(space.width), max(space.hidden))
        self.layers = nn.ModuleList(
            MoSBlock(sizes, space.num_genes, config) for _ in range(max(space.depth))
        )

    def generate(self, arch: CipherArch, encoding: Tensor, router_dropout: bool) -> StateDict:
        parts = {"embed": self.embed.generate(arch.width)}
        for i, layer in enumerate(arch.layers):
            sizes = ffn_sizes(arch.width, layer.hidden)
            parts[f"layers.{i}"] = self.layers[i].generate(sizes, encoding, router_dropout)
        return with_prefix(**parts)

    def skeleton(self, arch: CipherArch) -> CipherSubnet:
        self.space.check(arch)
        with torch.device("meta"):
            return CipherSubnet(arch, self.vocab_size, self.config.dropout)


def fresh_supernet(
    space: CipherSpace, vocab_size: int, config: SupernetConfig, seed: int
) -> Supernet:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Supernet(space, ElasticCipher(space, vocab_size, config), config)


def fresh_subnet(
    arch: CipherArch, space: CipherSpace, vocab_size: int, config: SupernetConfig, seed: int
) -> CipherSubnet:
    space.check(arch)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        subnet = CipherSubnet(arch, vocab_size, config.dropout)
        initialise_table(subnet.embed.weight, arch.width, pad_id=0)
        return subnet
