"""Whether repeats of one subnet lie too far apart on a device for its times to be trusted.

In: a dataset, a device profile. Out: a limit in percent, and a sentence. Nothing is measured.
"""

from typing import TYPE_CHECKING

from ..config.device import DeviceProfile

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

MAX_DRIFTS = 3.0
"""Of the drift that the protocol allows: a noise floor above so many of them is too much. Around
one subnet such a drift leaves it a tenth of its weight in the fit; here all are like that.
"""


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
