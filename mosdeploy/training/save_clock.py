"""When a training saves its state."""

import time
from pathlib import Path
from typing import Any

from ..supernet.checkpoint import save_training_state

PERIOD_S = 30.0
"""Of a kill, the work of so many seconds is lost at most, where steps are shorter than that."""
MAX_SHARE = 0.02
"""Of the time that saving may take: a large state is saved less often."""


class SaveClock:
    """Tells when a state is due: at the steps that are asked for, and after some time
    without one.
    """

    def __init__(self) -> None:
        self._saved_at = time.monotonic()
        self._period_s = PERIOD_S

    def are_due(self, asked: bool) -> bool:
        """Whether a state is to be saved now."""
        return asked or time.monotonic() - self._saved_at >= self._period_s

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Save one; how long that takes says how soon the next may come."""
        start = time.monotonic()
        save_training_state(path, state)
        self._saved_at = time.monotonic()
        self._period_s = max(PERIOD_S, (self._saved_at - start) / MAX_SHARE)
