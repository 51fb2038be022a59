"""What the scripts that time things say and reckon alike."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def peak_mib() -> float:
    """Largest resident size of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def ratio(reference_ms: Sequence[float], measured_ms: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(reference_ms, measured_ms, strict=True))
