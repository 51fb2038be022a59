"""A device whose latencies are known exactly, for the tests of latency predictors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from example_spaces import space_of

from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.records import DeviceState, LatencyContext, SessionRecord
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.genes import GeneArray
from mosdeploy.spaces.spec import FloatArray
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload
from mosdeploy.storage import append_line

COEFFICIENTS = np.array(
    [2.0, 0.8, 0.3, 1.5, 1.0, 0.9, 1.2, 0.7, 2.0, 0.5, 0.02, 0.01, 0.01, 0.02, 0.02]
)
"""Milliseconds a unit of each latency feature: much of the time is in the core features."""


@pytest.fixture(scope="session")
def space() -> TranslationSpace:
    return space_of(
        embed_dim=(32, 64),
        layers=(1, 2, 4),
        ffn_dim=(64, 128, 256),
        heads=(2, 4),
        qkv_dim=32,
        encoder_embed_dim=(32, 48, 64),
        encoder_layers=(1, 2, 3),
        cross_span=(1, 2),
    )


@pytest.fixture(scope="session")
def spec(space: TranslationSpace) -> ModelSpec:
    workload = TranslationWorkload(source_len=12, decode_steps=10, beam=2)
    return ModelSpec(space, 500, workload)


@pytest.fixture(scope="session")
def true_latency(spec: ModelSpec) -> Callable[[GeneArray], FloatArray]:
    """Milliseconds (N,) of gene rows (N, G) on a device that costs exactly `COEFFICIENTS`."""
    return lambda genes: spec.latency_features(genes) @ COEFFICIENTS


@pytest.fixture(scope="session")
def draw(space: TranslationSpace) -> Callable[[int, int], GeneArray]:
    """Random gene rows, so many, by a seed."""

    def genes(count: int, seed: int) -> GeneArray:
        rng = np.random.default_rng(seed)
        return space.genes([space.sample(rng) for _ in range(count)])

    return genes


def begun(path: Path, context: LatencyContext, session: str = "s1") -> LatencyDataset:
    """A dataset in whose folder a session has begun."""
    dataset = LatencyDataset.open(path, context)
    state = DeviceState(packages={"onnxruntime": "1.20.0"})
    started = SessionRecord(session=session, started_at="", host=context.device.host, state=state)
    append_line(path.with_name("sessions.jsonl"), started)
    return dataset
