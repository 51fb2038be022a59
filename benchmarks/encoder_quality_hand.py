"""Nets picked by hand, and random ones of the same latency, for encoder_quality.py."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from pydantic import JsonValue

from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.families.encoder.elastic import sliced_subnet
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.pipeline.training.subnet_training import SubnetTraining
from mosdeploy.spaces.encoder import BertLayerConfig, EncoderArch, EncoderSpace
from mosdeploy.supernet.elastic import StateDict, Subnet

NUM_MEASURED = 5
"""Of the narrower nets that are predicted to keep a limit, so many are measured."""
NUM_DRAWN = 100
MAX_DRAWS = 100
"""So many times, so many random architectures are drawn at most until one fits."""
LEAST_SHARE = 0.9
"""Of a limit, that a random architecture is predicted to use."""


def uniform(space: EncoderSpace, num_layers: int, ffn_dim: int, heads: int) -> EncoderArch:
    """An architecture whose layers are alike."""
    layer = BertLayerConfig(ffn_dim=ffn_dim, heads=heads)
    return EncoderArch(embed_dim=max(space.embed_dim), layers=(layer,) * num_layers)


def whole_layers(space: EncoderSpace) -> list[EncoderArch]:
    """Nets of whole layers of the teacher, the shallowest first."""
    widest = (max(space.ffn_dim), max(space.heads))
    return [uniform(space, number, *widest) for number in sorted(space.layers)]


def narrower(
    space: EncoderSpace, predictor: LatencyPredictor, limit_ms: float
) -> tuple[list[EncoderArch], list[EncoderArch]]:
    """Uniformly narrower nets of two layers or more that are worth measuring.

    Returns
    -------
    deepest
        Of the most layers with which one is predicted to keep the limit, those that are predicted
        to use most of it.
    largest
        Of all that are predicted to keep it, those with the most weights in their layers.
    """
    widest = (max(space.ffn_dim), max(space.heads))
    shapes = itertools.product(space.layers, space.ffn_dim, space.heads)
    archs = [uniform(space, *shape) for shape in shapes if shape[0] > 1 and shape[1:] != widest]
    times_ms = dict(zip(archs, predictor.predict(space.genes(archs)), strict=True))
    feasible = [arch for arch in archs if times_ms[arch] <= limit_ms]
    by_depth = sorted(feasible, key=lambda arch: (-len(arch.layers), -times_ms[arch]))
    deepest = [arch for arch in by_depth if len(arch.layers) == len(by_depth[0].layers)]
    largest = sorted(feasible, key=lambda arch: -_num_weights(space, arch))
    return deepest[:NUM_MEASURED], largest[:NUM_MEASURED]


def _num_weights(space: EncoderSpace, arch: EncoderArch) -> int:
    """Of the matrices in the layers, in columns of the hidden states."""
    head_dim = space.head_dim or 0
    return sum(4 * layer.heads * head_dim + 2 * layer.ffn_dim for layer in arch.layers)


def slowest_within(
    archs: Sequence[EncoderArch], times_ms: Mapping[str, float], limit_ms: float
) -> EncoderArch | None:
    """The one that uses most of a limit, as measured; None if none keeps it."""
    kept = [arch for arch in archs if times_ms[arch.key] <= limit_ms]
    return max(kept, key=lambda arch: times_ms[arch.key], default=None)


def random_arch(
    space: EncoderSpace, predictor: LatencyPredictor, limit_ms: float, seed: int
) -> EncoderArch:
    """The first one drawn that is predicted to use a limit, but for a tenth at most."""
    rng = np.random.default_rng(seed)
    for _ in range(MAX_DRAWS):
        drawn = [space.sample(rng) for _ in range(NUM_DRAWN)]
        times_ms = predictor.predict(space.genes(drawn))
        fitting = np.flatnonzero((times_ms <= limit_ms) & (times_ms >= LEAST_SHARE * limit_ms))
        if len(fitting):
            return cast("EncoderArch", drawn[fitting[0]])
    raise SystemExit(f"no random architecture was found that takes about {limit_ms:.3f} ms")


def spaced_layers(num_kept: int, num_layers: int) -> list[int]:
    """Which of the teacher's layers a net keeps that spreads them, from the first to the last.

    Examples
    --------
    >>> spaced_layers(3, 6)
    [0, 2, 5]
    """
    return [int(i) for i in np.linspace(0, num_layers - 1, num_kept).round()]


def renumbered(weights: StateDict, layers: Sequence[int]) -> StateDict:
    """Weights of a network in which the given layers come first."""
    moved = dict(weights)
    for new, old in enumerate(layers):
        prefix = f"layers.{old}."
        for name in weights:
            if name.startswith(prefix):
                moved[f"layers.{new}.{name.removeprefix(prefix)}"] = weights[name]
    return moved


@dataclass(frozen=True)
class SpacedTraining(SubnetTraining):
    """The training `from-teacher` of a net of whole layers, which starts from evenly spaced layers
    of the teacher. The product's slices are the first layers.
    """

    @property
    def _layers(self) -> list[int]:
        space = self.state.config.space
        assert isinstance(self.arch, EncoderArch) and isinstance(space, EncoderSpace)
        return spaced_layers(len(self.arch.layers), max(space.layers))

    @property
    def settings(self) -> dict[str, JsonValue]:
        """The settings, other than those of the training from the first layers."""
        return {**super().settings, "spaced layers": str(self._layers)}

    def source(self) -> Subnet:
        """The network of these layers."""
        config = self.state.config
        assert isinstance(config, EncoderRunConfig) and isinstance(self.arch, EncoderArch)
        assert self.state.teacher is not None
        largest = self.state.teacher.subnet(config.space.largest)
        start = renumbered(largest.state_dict(), self._layers)
        return sliced_subnet(self.arch, config.space, config.vocab_size, config.supernet, start)
