"""Whether what was measured on a device is enough: neither too noisy nor too little."""

from typing import TYPE_CHECKING

import numpy as np

from ..config import RunConfig
from ..config.device import DeviceProfile
from ..spaces.genes import SearchSpace

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

MAX_DRIFTS = 3.0
"""Of the drift that the protocol allows: a noise floor above so many of them is too much."""


def max_noise_percent(device: DeviceProfile) -> float:
    """The noise floor above which a device's times are not to be trusted."""
    return MAX_DRIFTS * device.measure.max_drift_percent


def excess_noise(dataset: "LatencyDataset") -> str:
    """How far apart repeats lie and how far they may, in words; empty where they do not lie too far
    apart, and for an emulated device, whose times mean nothing in any case.
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


def nothing_to_renew(dataset: "LatencyDataset") -> str:
    """Why measurements stay that were to be made again, in words."""
    why = "the conditions are the same"
    if (found_percent := dataset.noise_floor_percent) is not None:
        most_percent = max_noise_percent(dataset.context.device)
        why += (
            f", and repeats of one subnet lie {found_percent:.2f}% from their median, of "
            f"{most_percent:g}% that may be"
        )
    folder = dataset.path.parent  # with what was fitted to them
    return f"nothing to measure again: {why}; to do so all the same, move the folder {folder} away"


def profile_command(dataset: "LatencyDataset", *options: str) -> str:
    """What measures on the boards of a dataset."""
    device = dataset.context.device
    hosts = sorted({x.host for x in dataset.sessions if x.host})
    others = (f"--hosts {','.join(hosts)}",) if hosts not in ([], [device.host_alias]) else ()
    return " ".join((f"mosdeploy profile --device {device.name}", *others, *options))


def too_small(config: RunConfig) -> str:
    """That a space has fewer architectures than a predictor needs, and what to do, in words; empty
    where it has enough.
    """
    from ..latency.fitting import MIN_SAMPLES

    count = config.space.num_architectures
    if count >= MIN_SAMPLES:
        return ""
    return (
        f"the space holds only {count} of the {MIN_SAMPLES} architectures that a predictor needs; "
        "give [space] more choices, or search with --max-parameters or --max-size"
    )


def further_command(dataset: "LatencyDataset", config: RunConfig) -> str | None:
    """What measures further where too few subnets could be timed for a predictor; None where they
    are enough, where the space has no more, and for an emulated device, which has none.
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


def untimed_ends(dataset: "LatencyDataset", space: SearchSpace) -> list[str]:
    """The smallest and largest choices of a space that no subnet with a time has, in words: what is
    predicted there is a guess, whose interval does not tell so.
    """
    genes = space.genes([record.arch for record in dataset.usable])
    found = []
    for entry in space.entries:
        choices = getattr(space, entry.choices)
        timed = np.unique(genes[:, space.gene_slices[entry.choices]])
        ends = dict.fromkeys((min(choices), max(choices)))
        found += [f"{entry.choices} = {end}" for end in ends if end not in timed]
    return found
