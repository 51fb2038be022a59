"""A device whose latencies are known exactly, for the tests of latency predictors."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from answers import timed
from example_spaces import space_of

from mosdeploy.config.device import DeviceProfile
from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession
from mosdeploy.records import (
    DeviceState,
    LatencyContext,
    LatencyRecord,
    Measurement,
    SessionRecord,
)
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.predictors import latency_context
from mosdeploy.run_folder.run import Run
from mosdeploy.spaces import ArchConfig, ModelSpec
from mosdeploy.spaces.genes import GeneArray
from mosdeploy.spaces.spec import FloatArray
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload
from mosdeploy.storage import append_line, fingerprint

COEFFICIENTS = np.array(
    [2.0, 0.8, 0.3, 1.5, 1.0, 0.9, 1.2, 0.7, 2.0, 0.5, 0.02, 0.01, 0.01, 0.02, 0.02]
)
"""Milliseconds a unit of each latency feature: much of the time is in the core features."""


STATE = DeviceState(packages={"onnxruntime": "1.20.0"})
SPEC = ModelSpec(
    space_of(
        embed_dim=(32, 64),
        layers=(1, 2, 4),
        ffn_dim=(64, 128, 256),
        heads=(2, 4),
        qkv_dim=32,
        encoder_embed_dim=(32, 48, 64),
        encoder_layers=(1, 2, 3),
        cross_span=(1, 2),
    ),
    500,
    TranslationWorkload(source_len=12, decode_steps=10, beam=2),
)


@pytest.fixture(scope="session")
def space() -> TranslationSpace:
    return SPEC.space


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return SPEC


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
    started = SessionRecord(
        session=session,
        dataset_id=dataset.context.dataset_id,
        started_at="",
        host=context.device.host or "local",
        state=STATE,
    )
    append_line(path.with_name("sessions.jsonl"), started)
    return dataset


def context_of(spec: ModelSpec, dataset_id: str = "first") -> LatencyContext:
    return LatencyContext(
        dataset_id=dataset_id,
        device=DeviceProfile(name="board", host="board"),
        workload=spec.workload,
        space_sha256=fingerprint(spec.space),
        vocab_size=spec.vocab_size,
        graph_sha256="0" * 64,
    )


def record_of(arch: ArchConfig, median_ms: float | None) -> LatencyRecord:
    """The record of a measurement of so many milliseconds, or (None) of one that failed."""
    failed = Measurement(error="out of memory")
    return LatencyRecord(
        arch=arch,
        measurement=failed if median_ms is None else timed(median_ms),
        runtime="onnxruntime 1.20.0",
        measured_at="2025-01-01T00:00:00Z",
        session="s1",
    )


def measured_dataset(path: Path, count: int) -> LatencyDataset:
    """A dataset of so many random subnets, on disk."""
    dataset = begun(path, context_of(SPEC))
    rng = np.random.default_rng(0)
    for arch in (SPEC.space.sample(rng) for _ in range(count)):
        (latency_ms,) = SPEC.latency_features(SPEC.gene_rows([arch])) @ COEFFICIENTS
        dataset.append(record_of(arch, float(latency_ms)))
    return dataset


def leave_measurements(
    run: Run,
    name: str,
    path: Path,
    archs: Sequence[ArchConfig],
    latency_ms: FloatArray,
    state: DeviceState = STATE,
) -> None:
    """What measuring subnets on a device would have left behind."""
    device = run_profile(run.workspace.root, name)
    dataset = LatencyDataset.open(path, latency_context(run, device))
    own = dataset.context.dataset_id
    session = ProfilingSession(path, device.host_alias, state, dataset_id=own).record
    for arch, ms in zip(archs, latency_ms.tolist(), strict=True):
        dataset.append(record_of(arch, ms).model_copy(update={"session": session.session}))
