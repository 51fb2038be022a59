"""Under which conditions latencies are measured now, and whether old ones were measured under the
same.
"""

import uuid
from typing import TYPE_CHECKING

from ..config.device import DeviceProfile
from ..records import DeviceState, LatencyContext
from .context import Context
from .devices import lasting_device, run_profile
from .run import Run

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset


def latency_context(run: Run, device: DeviceProfile) -> LatencyContext:
    """What a dataset that is begun now has in common, with an id of its own."""
    from ..devices.local import machine_id
    from ..export.candidate import graph_sha256

    return LatencyContext(
        dataset_id=uuid.uuid4().hex,
        device=device,
        workload=run.config.workload,
        space_sha256=run.space_sha256,
        vocab_size=run.config.vocab_size,
        graph_sha256=graph_sha256(run.config.spec, run.family.build_graph),
        machine_id=machine_id() if device.kind == "local" else None,
    )


def check_current(run: Run, dataset: "LatencyDataset") -> None:
    """Make sure, without asking the device, that a dataset counts for this run."""
    device = run_profile(run.workspace.root, dataset.context.device.name)
    dataset.check(latency_context(run, device))


def board_state(context: Context, profile: DeviceProfile, job_id: str) -> DeviceState | None:
    """What a board says of itself; None where it measures for this very job, and is not
    disturbed.
    """
    from ..devices.job import AgentJob
    from ..devices.probe import check_ready, probe

    with lasting_device(context, profile) as device:
        job = AgentJob(device, job_id)
        job.refuse_if_busy()
        if job.is_running():
            return None
        state = probe(device)
    check_ready(state, profile)
    return state
