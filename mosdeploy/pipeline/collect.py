"""Where export, devices and latency meet: subnets of a space, measured on a device or a fleet, in a
dataset.
"""

import contextlib
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config.device import DeviceProfile, with_host
from ..errors import ConfigError, DeviceBusyError
from ..records import LatencyContext
from ..spaces.costs import num_macs
from ..spaces.genes import ArchConfig, SearchSpace
from ..spaces.spec import Workload
from ..storage import locked
from .devices import connector
from .run import Progress, Run

if TYPE_CHECKING:
    from ..devices.fleet import Task
    from ..latency.dataset import LatencyDataset


@dataclass
class CollectResult:
    """A dataset that has all that was asked for; how much of it was measured now, and why boards
    dropped out.
    """

    dataset: "LatencyDataset"
    measured_now: int = 0
    dropped: dict[str, str] = field(default_factory=dict)


def collect(
    run: Run,
    target: DeviceProfile,
    archs: Sequence[ArchConfig],
    path: Path,
    ssh_config: Path,
    progress: Progress,
    hosts: Sequence[str] = (),
) -> CollectResult:
    """Measure those of some architectures that a dataset lacks.

    Parameters
    ----------
    hosts
        Aliases of the boards to measure on; none for the profile's own.

    Raises
    ------
    ConfigError
        If `hosts` are no aliases or name a board twice, or the device is this machine.
    DeviceError
        As `profile`.
    StaleInputError
        As `profile`.
    """
    from ..latency.dataset import LatencyDataset

    profiles = _members(target, hosts)
    context = LatencyContext(
        dataset_id=uuid.uuid4().hex,
        device=target,
        workload=run.config.workload,
        space_sha256=run.space_sha256,
        vocab_size=run.config.corpus.vocab_size,
    )
    busy = DeviceBusyError(
        f"another command measures on '{target.name}' into {path}; wait for it, or stop it"
    )
    with locked(path, busy):
        found = CollectResult(LatencyDataset.open(path, context))
        if found.dataset.torn:
            warnings.warn(
                f"{path}: the last line was cut short by a kill; it is measured again", stacklevel=2
            )
        missing = {arch.key: arch for arch in archs if arch.key not in found.dataset.measured}
        if missing:
            _measure(run, found, missing, profiles, ssh_config, progress)
        return found


def _members(target: DeviceProfile, hosts: Sequence[str]) -> list[DeviceProfile]:
    """The profile of each board of a fleet; the device's own where no hosts are named."""
    if not hosts:
        return [target]
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        raise ConfigError(
            f"--hosts names {', '.join(twice)} twice; a board measures one subnet at a time, name it once"
        )
    return [with_host(target, host) for host in hosts]


def reference_arch(space: SearchSpace, workload: Workload, vocab_size: int) -> ArchConfig:
    """The reference, which shows how a device changes: of 101 random subnets, always the same, one
    of reference_arch work.
    """
    rng = np.random.default_rng(0)

    def work(arch: ArchConfig) -> int:
        return num_macs(
            space, arch, vocab_size, workload.source_len, workload.decode_steps, workload.beam
        )

    return sorted((space.sample(rng) for _ in range(101)), key=work)[50]


def _measure(
    run: Run,
    found: CollectResult,
    missing: dict[str, ArchConfig],
    profiles: Sequence[DeviceProfile],
    ssh_config: Path,
    progress: Progress,
) -> None:
    """Measure some architectures, and append each to the dataset as soon as it is settled."""
    from ..devices.fleet import Board, measure_fleet
    from ..latency.sessions import read_sessions
    from .recorder import ProfileRecorder

    dataset = found.dataset
    latest = {
        x.host or dataset.context.device.host_alias: x.state for x in read_sessions(dataset.path)
    }
    boards = [Board(x, connector(x, ssh_config), latest.get(x.host_alias)) for x in profiles]
    recorder = ProfileRecorder(dataset, missing, is_fleet=len(boards) > 1, progress=progress)
    with contextlib.closing(measure_fleet(boards, missing, _task(run, dataset, missing))) as events:
        for event in events:
            recorder.record(event)
    found.measured_now, found.dropped = len(missing), recorder.dropped


def _task(run: Run, dataset: "LatencyDataset", missing: dict[str, ArchConfig]) -> "Task":
    from ..devices.fleet import Task
    from ..devices.on_device.agent import REFERENCE
    from ..export.candidate import build_candidate, candidate_weights_bytes

    space, workload, vocab_size = (
        run.config.space,
        run.config.workload,
        run.config.corpus.vocab_size,
    )
    archs = {**missing, REFERENCE: reference_arch(space, workload, vocab_size)}
    return Task(
        workload=workload,
        vocab_size=vocab_size,
        job_id=dataset.context.dataset_id,
        build=lambda key: build_candidate(archs[key], space, vocab_size, workload),
        weights_bytes=candidate_weights_bytes(space, vocab_size, workload),
    )
