"""Where export, devices and latency meet: subnets of a space, measured on a device, in a dataset."""

import datetime
import uuid
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config import DeviceProfile, Workload
from ..errors import DeviceBusyError
from ..records import LatencyContext, LatencyRecord
from ..space import ArchConfig, SearchSpace
from ..workspace import locked
from .devices import connector
from .run import Progress, Run
from .sessions import SessionLog

if TYPE_CHECKING:
    from ..devices.session import Session
    from ..latency.dataset import LatencyDataset


def collect(
    run: Run, target: DeviceProfile, archs: Sequence[ArchConfig], path: Path, ssh_config: Path, progress: Progress
) -> "tuple[LatencyDataset, int]":
    """Measure those of some architectures that a dataset lacks; returns it and how many were measured now.

    Raises
    ------
    DeviceError
        As `profile`.
    StaleInputError
        As `profile`.
    """
    from ..latency.dataset import LatencyDataset

    context = LatencyContext(
        dataset_id=uuid.uuid4().hex,
        device=target,
        workload=run.config.workload,
        space_sha256=run.space_sha256,
        vocab_size=run.config.corpus.vocab_size,
    )
    busy = DeviceBusyError(f"another command measures on '{target.name}' into {path}; wait for it, or stop it")
    with locked(path, busy):
        dataset = LatencyDataset.open(path, context)
        if dataset.torn:
            warnings.warn(f"{path}: the last line was cut short by a kill; it is measured again", stacklevel=2)
        missing = {arch.key: arch for arch in archs if arch.key not in dataset.measured}
        if missing:
            _measure(run, dataset, missing, connector(target, ssh_config), progress)
        return dataset, len(missing)


def middling(space: SearchSpace, workload: Workload, vocab_size: int) -> ArchConfig:
    """The reference, which shows how a device changes: of 101 random subnets, always the same, one of middling work."""
    rng = np.random.default_rng(0)

    def num_macs(arch: ArchConfig) -> int:
        return space.num_macs(arch, vocab_size, workload.source_len, workload.decode_steps, workload.beam)

    return sorted((space.sample(rng) for _ in range(101)), key=num_macs)[50]


def _measure(
    run: Run,
    dataset: "LatencyDataset",
    missing: dict[str, ArchConfig],
    connect: "Callable[[], Session]",
    progress: Progress,
) -> None:
    """Measure some architectures in one session, and append each to the dataset as soon as it is settled."""
    from ..devices.agent import REFERENCE
    from ..devices.job import AgentResult
    from ..devices.measure import collect as measure
    from ..devices.probe import probe
    from ..export.candidate import build_candidate, candidate_weights_bytes

    space, workload, vocab_size = run.config.space, run.config.workload, run.config.corpus.vocab_size
    target, total = dataset.context.device, len(missing)
    archs = {**missing, REFERENCE: middling(space, workload, vocab_size)}
    built, seen = set[str](), set[str]()

    def build(key: str) -> bytes:
        built.add(key)
        progress.update(f"upload to {target.name}", len(built - {REFERENCE}), total)
        return build_candidate(archs[key], space, vocab_size, workload)

    def observe(result: AgentResult) -> None:
        if result.key == REFERENCE:
            session.add_reference(result.measured_at, result.measurement)
        elif result.key in missing and result.key not in seen:
            seen.add(result.key)
            timing, error = result.measurement.total, result.measurement.error
            note = f"{timing.median_ms:.2f} ms" if timing else f"failed: {error}"
            progress.update(f"measure on {target.name}", len(seen), total, note)

    with connect() as link:
        state = probe(link, target)
    session = SessionLog(dataset.path, state)
    weights_bytes = candidate_weights_bytes(space, vocab_size, workload)
    job = (target, workload, vocab_size, dataset.context.dataset_id, list(missing), build, weights_bytes)
    for key, measurement in measure(connect, *job, progress.say, observe):
        dataset.append(
            LatencyRecord(
                arch=missing[key],
                measurement=measurement,
                runtime=f"onnxruntime {state.onnxruntime_version}",
                measured_at=_now(),
                session=session.record.session,
            )
        )
    with connect() as link:
        session.end(probe(link, target))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
