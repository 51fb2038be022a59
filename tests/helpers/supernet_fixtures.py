"""Spaces and networks of the supernet's tests: a translation's, and a toy of no family."""

import json
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.record import Record, parse
from mosdeploy.spaces.genes import ArchConfig, Choices, Gene, SearchSpace
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace
from mosdeploy.supernet.elastic import ElasticEmbedding, StateDict, Subnet, with_prefix
from mosdeploy.supernet.embedding import Embedding
from mosdeploy.supernet.layers import Linear
from mosdeploy.supernet.mos import MoSBlock, encoding_dim, ffn_sizes
from mosdeploy.supernet.supernet import Supernet

# -- a translation's


@pytest.fixture
def space() -> TranslationSpace:
    """Unequal widths on both sides, every kind of choice, spans up to 3."""
    return TranslationSpace(
        encoder_embed_dim=(8, 12),
        decoder_embed_dim=(6, 10),
        encoder_layers=(1, 2, 3),
        decoder_layers=(1, 2),
        encoder_ffn_dim=(5, 9, 16),
        decoder_ffn_dim=(7, 14),
        encoder_heads=(1, 2, 4),
        decoder_self_heads=(2, 4),
        decoder_cross_heads=(1, 2),
        cross_span=(1, 2, 3),
        qkv_dim=8,
        norm="pre",
    )


@pytest.fixture
def archs(space: TranslationSpace) -> list[TranslationArch]:
    rng = np.random.default_rng(0)
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(6))]


@pytest.fixture
def src() -> Tensor:
    """Source ids (3, 6) over 20 tokens, padded by 0, 4 and 1."""
    ids = torch.randint(4, 20, (3, 6), generator=torch.Generator().manual_seed(1))
    ids[1, 2:] = 0
    ids[2, 5:] = 0
    return ids


@pytest.fixture
def prev() -> Tensor:
    """Earlier target ids (3, 5)."""
    ids = torch.randint(4, 20, (3, 5), generator=torch.Generator().manual_seed(2))
    ids[:, 0] = 2
    return ids


# -- a toy: a table and a stack of FFNs that tell each id again


class ToyLayer(Record):
    ffn_dim: int


class ToyArch(ArchConfig):
    dim: int
    layers: tuple[ToyLayer, ...]


class ToySpace(SearchSpace):
    table: ClassVar[tuple[Gene, ...]] = (
        Gene("dim"),
        Gene("depth", stack="layers"),
        Gene("ffn_dim", stack="layers", field="ffn_dim"),
    )
    arch_type: ClassVar[type[ArchConfig]] = ToyArch
    layer_types: ClassVar[dict[str, type[Record]]] = {"layers": ToyLayer}
    mean_order: ClassVar[tuple[str, ...]] = ("dim", "depth", "ffn_dim")

    dim: Choices = (4, 6)
    depth: Choices = (1, 2, 3)
    ffn_dim: Choices = (3, 5, 8)


class ToySubnet(Subnet):
    """Logits (B, L, V) from ids (B, L)."""

    def __init__(self, arch: ToyArch, vocab_size: int, dropout: float) -> None:
        super().__init__()
        self.arch = arch
        self.dropout = dropout
        self.embed = Embedding(vocab_size, arch.dim)
        for i, layer in enumerate(arch.layers):
            self.add_module(f"fc1_{i}", Linear(arch.dim, layer.ffn_dim))
            self.add_module(f"fc2_{i}", Linear(layer.ffn_dim, arch.dim))

    def forward(self, ids: Tensor, activation_checkpointing: bool = False) -> Tensor:
        x = self.embed(ids) * math.sqrt(self.arch.dim)
        for i in range(len(self.arch.layers)):
            y = self._modules[f"fc2_{i}"](F.relu(self._modules[f"fc1_{i}"](x)))
            x = x + F.dropout(y, self.dropout, self.training)
        return F.linear(x, self.embed.weight)


class ElasticToy(nn.Module):
    def __init__(self, space: ToySpace, vocab_size: int, config: SupernetConfig) -> None:
        super().__init__()
        self.space = space
        self.vocab_size = vocab_size
        self.config = config
        self.embed = ElasticEmbedding(vocab_size, max(space.dim), pad_id=0)
        sizes = ffn_sizes(max(space.dim), max(space.ffn_dim))
        self.layers = nn.ModuleList(
            MoSBlock(sizes, encoding_dim(space, config), config) for _ in range(max(space.depth))
        )

    def generate(self, arch: ToyArch, encoding: Tensor, router_dropout: bool) -> StateDict:
        parts = {"embed": self.embed.generate(arch.dim)}
        for i, layer in enumerate(arch.layers):
            sizes = ffn_sizes(arch.dim, layer.ffn_dim)
            weights = self.layers[i].generate(sizes, encoding, router_dropout)
            for name in ("fc1", "fc2"):
                parts[f"{name}_{i}"] = {
                    kind: weights[f"{name}.{kind}"] for kind in ("weight", "bias")
                }
        return with_prefix(**parts)

    def skeleton(self, arch: ToyArch) -> ToySubnet:
        self.space.check(arch)
        with torch.device("meta"):
            return ToySubnet(arch, self.vocab_size, self.config.dropout)


TOY_SPACE = ToySpace()
TOY_VOCAB_SIZE = 9


def toy_supernet(seed: int = 0, **config: object) -> Supernet:
    """All parameters away from their neutral values, so that every one of them counts."""
    sections = SupernetConfig(**{"router_hidden_dim": 8, **config})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = Supernet(TOY_SPACE, ElasticToy(TOY_SPACE, TOY_VOCAB_SIZE, sections), sections)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def build_toy(space_json: str, vocab_size: int, config_json: str) -> Supernet:
    """A toy supernet as a file describes it."""
    space = parse(ToySpace, json.loads(space_json), "space")
    config = parse(SupernetConfig, json.loads(config_json), "config")
    return Supernet(space, ElasticToy(space, vocab_size, config), config)


def toy_ids() -> Tensor:
    """Ids (3, 5)."""
    return torch.randint(1, TOY_VOCAB_SIZE, (3, 5), generator=torch.Generator().manual_seed(1))
