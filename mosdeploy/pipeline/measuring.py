"""Where export, devices and latency meet: subnets of a space, measured on a device, in a dataset."""

import datetime
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import DeviceProfile
from ..errors import DeviceBusyError
from ..records import LatencyContext, LatencyRecord, SessionRecord
from ..space import ArchConfig
from ..workspace import append_line, locked
from .devices import connector
from .run import Progress, Run

if TYPE_CHECKING:
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
    from ..devices.measure import collect as measure
    from ..devices.probe import probe
    from ..export.candidate import build_candidate, candidate_weights_bytes
    from ..latency.dataset import LatencyDataset

    space, workload, vocab_size = run.config.space, run.config.workload, run.config.corpus.vocab_size
    context = LatencyContext(
        dataset_id=uuid.uuid4().hex,
        device=target,
        workload=workload,
        space_sha256=run.space_sha256,
        vocab_size=vocab_size,
    )
    busy = DeviceBusyError(f"another command measures on '{target.name}' into {path}; wait for it, or stop it")
    with locked(path, busy):
        dataset = LatencyDataset.open(path, context)
        if dataset.torn:
            warnings.warn(f"{path}: the last line was cut short by a kill; it is measured again", stacklevel=2)
        missing = {arch.key: arch for arch in archs if arch.key not in dataset.measured}
        if not missing:
            return dataset, 0
        connect = connector(target, ssh_config)
        with connect() as session:
            state = probe(session, target)
        session_id = uuid.uuid4().hex[:8]
        append_line(path.parent / "sessions.jsonl", SessionRecord(session=session_id, started_at=_now(), state=state))
        runtime = f"onnxruntime {state.onnxruntime_version}"
        stage, total, built = f"measure on {target.name}", len(missing), 0

        def build(key: str) -> bytes:
            nonlocal built
            built += 1
            progress.update(f"upload to {target.name}", built, total)
            return build_candidate(missing[key], space, vocab_size, workload)

        results = measure(
            connect,
            target,
            workload,
            vocab_size,
            dataset.context.dataset_id,
            list(missing),
            build,
            candidate_weights_bytes(space, vocab_size, workload),
            progress.say,
        )
        for done, (key, measurement) in enumerate(results, start=1):
            dataset.append(
                LatencyRecord(
                    arch=missing[key], measurement=measurement, runtime=runtime, measured_at=_now(), session=session_id
                )
            )
            timing = measurement.total
            progress.update(
                stage, done, total, f"{timing.median_ms:.2f} ms" if timing else f"failed: {measurement.error}"
            )
        return dataset, total


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
