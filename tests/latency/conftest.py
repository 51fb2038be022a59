import numpy as np
import pytest
from example_spaces import space_of
from mosdeploy.spaces.latency_features import latency_features, sums_from_genes

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import LatencyContext, LatencyRecord, Measurement, Timing
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload
from mosdeploy.storage import fingerprint

VOCAB_SIZE = 500


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
def workload() -> TranslationWorkload:
    return TranslationWorkload(source_len=12, decode_steps=10, beam=2)


@pytest.fixture(scope="session")
def true_latency(space, workload):
    """An additive device: nanoseconds a MAC, microseconds a layer; a few cores' worth of secondary
    costs.
    """
    coefficients = np.array(
        [2.0, 0.8, 0.3, 1.5, 1.0, 0.9, 1.2, 0.7, 2.0, 0.5, 0.02, 0.01, 0.01, 0.02, 0.02]
    )

    def latency(genes):
        return (
            latency_features(sums_from_genes(space, genes), space.qkv_dim, workload, VOCAB_SIZE)
            @ coefficients
        )

    return latency


@pytest.fixture(scope="session")
def draw(space):
    def genes(count: int, seed: int):
        rng = np.random.default_rng(seed)
        return space.genes([space.sample(rng) for _ in range(count)])

    return genes


@pytest.fixture
def context(space, workload) -> LatencyContext:
    return LatencyContext(
        dataset_id="first",
        device=DeviceProfile(name="board", host="board"),
        workload=workload,
        space_sha256=fingerprint(space),
        vocab_size=VOCAB_SIZE,
    )


@pytest.fixture(scope="session")
def record():
    """Make the record of a measurement of so many milliseconds, or (None) of one that failed."""

    def make(arch: TranslationArch, median_ms: float | None) -> LatencyRecord:
        timing = None
        if median_ms is not None:
            timing = Timing(median_ms=median_ms, p90_ms=median_ms, minimum_ms=median_ms, repeats=10)
        return LatencyRecord(
            arch=arch,
            measurement=Measurement(
                total=timing, error="out of memory" if timing is None else None
            ),
            runtime="onnxruntime 1.20.0",
            measured_at="2025-01-01T00:00:00Z",
            session="s1",
        )

    return make
