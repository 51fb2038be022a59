"""A search whose losses, costs and latencies are worked out from the architecture."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from example_spaces import space_of

from mosdeploy.config.sections import SearchConfig
from mosdeploy.records import Candidate
from mosdeploy.search.constraints import Cost, SearchOracle
from mosdeploy.search.front import Evolution
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
    TranslationWorkload,
)

VOCAB_SIZE = 100
WORKLOAD = TranslationWorkload(source_len=10, decode_steps=10)
CONFIG = SearchConfig(population=30, iterations=6)

MEDIUM = space_of(
    embed_dim=(32, 64),
    layers=(1, 2, 3),
    ffn_dim=(64, 128, 256),
    heads=(2, 4),
    qkv_dim=32,
    cross_span=(1, 2),
)
"""Fifteen million architectures."""

ENUMERABLE = space_of(
    embed_dim=(32, 64),
    layers=(1, 2),
    ffn_dim=(64,),
    heads=(2, 4),
    qkv_dim=32,
    encoder_ffn_dim=(64, 128),
    encoder_heads=(2,),
    decoder_cross_heads=(2,),
    cross_span=(1, 2),
)
"""Small enough to look at every architecture."""


def num_parameters(space: TranslationSpace, arch: TranslationArch) -> int:
    return ModelSpec(space, VOCAB_SIZE, WORKLOAD).num_parameters(arch)


def everything(space: TranslationSpace) -> Iterator[TranslationArch]:
    """Every architecture of a space."""
    encoder_layers = [
        EncoderLayerConfig(ffn_dim=ffn_dim, heads=heads)
        for ffn_dim, heads in itertools.product(space.encoder_ffn_dim, space.encoder_heads)
    ]
    decoder_layers = [
        DecoderLayerConfig(ffn_dim=f, self_heads=s, cross_heads=c, cross_span=n)
        for f, s, c, n in itertools.product(
            space.decoder_ffn_dim,
            space.decoder_self_heads,
            space.decoder_cross_heads,
            space.cross_span,
        )
    ]
    for e, d, n, m in itertools.product(
        space.encoder_embed_dim, space.decoder_embed_dim, space.encoder_layers, space.decoder_layers
    ):
        for encoder in itertools.product(encoder_layers, repeat=n):
            for decoder in itertools.product(decoder_layers, repeat=m):
                if all(layer.cross_span <= n for layer in decoder):
                    yield TranslationArch(
                        encoder_embed_dim=e,
                        decoder_embed_dim=d,
                        encoder_layers=encoder,
                        decoder_layers=decoder,
                    )


class Problem:
    """Larger is better, more heads are worse; keeps what it was asked."""

    def __init__(self, space=MEDIUM, latency=None):
        self.space = space
        self.spec = ModelSpec(space, VOCAB_SIZE, WORKLOAD)
        self.latency = latency or (lambda arch: self.spec.num_macs(arch) / 1e5)
        self.asked = []

    @property
    def oracle(self) -> SearchOracle:
        return SearchOracle(losses=self.losses, cost=self.cost, predict_ms=self.predict_ms)

    def loss(self, arch):
        return 10 - math.log(self.spec.num_parameters(arch)) + 0.1 * arch.encoder_layers[0].heads

    def losses(self, archs):
        self.asked += archs
        return [self.loss(arch) for arch in archs]

    def cost(self, arch):
        weights = self.spec.num_parameters(arch)
        body = self.spec.inventory(arch).num_body_parameters
        size_bytes = 4 * weights + 1000
        return Cost(weights, size_bytes, num_body_parameters=body, memory_bytes=2 * size_bytes)

    def predict_ms(self, genes):
        return np.array([self.latency(self.space.from_genes(row)) for row in genes])


def scored(arch, loss, **facts) -> Candidate:
    counts = {"num_parameters": 1, "num_body_parameters": 1, "size_bytes": 0, "memory_bytes": 0}
    return Candidate(**{"arch": arch, "loss": loss, "predicted_ms": None, **counts, **facts})


def evolution_of(*found: Candidate) -> Evolution:
    """An evolution that found these, the best first."""
    return Evolution(found, found[:1], frozenset(c.arch for c in found))
