"""Which folders of measurements belong to a workload, and to which device.

In: folders below `predictors`, DEVICE-WORKLOAD by name. Out: names of devices. No record is checked
here.
"""

import contextlib
import json
from pathlib import Path

from ..folders import listed


def measured_devices(root: Path, workload: str, name: str) -> list[str]:
    """Devices that have a file of this name for a workload in a run folder, sorted."""
    paths = listed(root / "predictors", f"*-{workload}/{name}")
    devices = [device_of(path.parent, workload) for path in paths]
    return sorted(device for device in devices if device is not None)


def device_of(folder: Path, workload: str) -> str | None:
    """The device that a folder is of; None if it is of another workload.

    `rpi-long-sentence` can be of `rpi-long` and the workload `sentence`, or of `rpi` and
    `long-sentence`: then its records name the device `rpi`.
    """
    suffix = f"-{workload}"
    if not folder.name.endswith(suffix):
        return None
    device = folder.name.removesuffix(suffix)
    recorded = _recorded_device(folder)
    is_other = recorded is not None and device.startswith(f"{recorded}-")
    return None if is_other else device


def _recorded_device(folder: Path) -> str | None:
    """The device that the files of a folder name."""
    # what is missing, or broken, is told by whoever reads all of it
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        first = (folder / "latency.jsonl").read_text(encoding="utf-8").partition("\n")[0]
        return str(json.loads(first)["device"]["name"])
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / "predictor.json").read_text(encoding="utf-8"))["device"])
    return None
