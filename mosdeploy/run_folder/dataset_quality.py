"""Whether measurements count for this run, and are enough: neither too noisy nor too few."""

import uuid
from typing import TYPE_CHECKING

import numpy as np

from ..config import RunConfig
from ..config.device import DeviceProfile
from ..records import LatencyContext
from ..spaces.genes import SearchSpace
from .devices import run_profile
from .run import Run

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

MAX_DRIFTS = 3.0
"""Of the drift that the protocol allows: a noise floor above so many of them is too much."""


def latency_context(run: Run, device: DeviceProfile) -> LatencyContext:
    """Return what a dataset that is begun now has in common, with an id of its own."""
    from ..devices.connect import machine_id
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


def max_noise_percent(device: DeviceProfile) -> float:
    """Return the noise floor above which a device's times are not to be trusted."""
    return MAX_DRIFTS * device.measure.max_drift_percent


def noise_problem(dataset: "LatencyDataset") -> str:
    """Describe how far apart repeats lie if they lie too far apart; empty otherwise, and for an
    emulated device, whose times mean nothing in any case.
    """
    device = dataset.context.device
    found_percent = dataset.noise_floor_percent
    most_percent = max_noise_percent(device)
    if device.emulated or found_percent is None or found_percent <= most_percent:
        return ""
    return (
        f"repeats of one subnet lie {found_percent:.2f}% from their median, more than "
        f"{most_percent:g}%"
    )


def profile_command(dataset: "LatencyDataset", *options: str) -> str:
    """Return the command that measures on the boards of a dataset."""
    device = dataset.context.device
    hosts = sorted({session.host for session in dataset.sessions})
    others = (f"--hosts {','.join(hosts)}",) if hosts not in ([], [device.host_alias]) else ()
    return " ".join((f"mosdeploy profile --device {device.name}", *others, *options))


def too_small(config: RunConfig) -> str:
    """Describe that a space has fewer architectures than a predictor needs; empty otherwise."""
    from ..latency.fitting import MIN_SAMPLES

    count = config.space.num_architectures
    if count >= MIN_SAMPLES:
        return ""
    return (
        f"the space holds only {count} of the {MIN_SAMPLES} architectures that a predictor needs; "
        "give [space] more choices, or search with --max-parameters or --max-size"
    )


def further_command(dataset: "LatencyDataset", config: RunConfig) -> str | None:
    """Return what measures further where too few subnets could be timed for a predictor; None where
    more would not help.
    """
    from ..latency.fitting import MIN_SAMPLES

    measured = len(dataset.measured)
    missing = MIN_SAMPLES - len(dataset.usable)
    if missing <= 0 or dataset.context.device.emulated or too_small(config):
        return None
    if config.profile.budget > measured:
        return profile_command(dataset)
    # beyond those that failed, and may fail again
    return profile_command(dataset, f"--budget {measured + missing}")


def unmeasured_choices(dataset: "LatencyDataset", space: SearchSpace) -> list[str]:
    """Name the smallest and largest choices of a space that no timed subnet has: predictions there
    are a guess, whose interval does not tell so.
    """
    genes = space.genes([record.arch for record in dataset.usable])
    found = []
    for entry in space.entries:
        choices = getattr(space, entry.choices)
        timed = np.unique(genes[:, space.gene_slices[entry.choices]])
        ends = dict.fromkeys((min(choices), max(choices)))
        found += [f"{entry.choices} = {end}" for end in ends if end not in timed]
    return found
