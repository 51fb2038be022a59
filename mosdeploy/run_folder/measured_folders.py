"""Which folders of measurements belong to a workload, and to which device."""

import contextlib
import json
from pathlib import Path

from ..folders import listed
from ..workspace import LATENCY_NAME, PREDICTOR_NAME, PREDICTORS


def measured_devices(root: Path, workload: str, name: str) -> list[str]:
    """Devices that have a file of this name for a workload in a run folder, sorted."""
    paths = listed(root / PREDICTORS, f"*-{workload}/{name}")
    devices = [device_of(path.parent, workload) for path in paths]
    return sorted(device for device in devices if device is not None)


def has_records(path: Path) -> bool:
    """Whether a file of measurements holds one; a profile that never reached its device leaves a
    file without. True if it cannot be read, which whoever reads all of it tells.
    """
    if not path.exists():
        return False
    try:
        with path.open("rb") as lines:
            lines.readline()  # what all records have in common
            return lines.readline().endswith(b"\n")
    except OSError:
        return True


def device_of(folder: Path, workload: str) -> str | None:
    """The device that a folder is of; None if it is of another workload."""
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
    unreadable = contextlib.suppress(OSError, ValueError, KeyError, TypeError)
    # its first line holds what all records have in common
    with unreadable, (folder / LATENCY_NAME).open(encoding="utf-8") as lines:
        return str(json.loads(lines.readline())["device"]["name"])
    with unreadable, (folder / PREDICTOR_NAME).open(encoding="utf-8") as predictor:
        return str(json.load(predictor)["device"])
    return None
