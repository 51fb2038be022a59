"""How far a verb is: bars on a terminal, plain lines in a pipe, all on stderr."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from ..printable import printable

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 16


def sparkline(values: Sequence[float], width: int = CURVE_WIDTH) -> str:
    """The last values as blocks, the highest of them as the highest block.

    Examples
    --------
    >>> sparkline([4.0, 3.0, 2.5, 2.0])
    '█▄▂▁'
    """
    shown = values[-width:]
    if not shown:
        return ""
    low = min(shown)
    span = (max(shown) - low) or 1.0
    return "".join(BLOCKS[int((x - low) / span * (len(BLOCKS) - 1))] for x in shown)


def tell(message: str) -> None:
    """Print one line on stderr."""
    print(printable(message), file=sys.stderr, flush=True)


class TerminalProgress:
    """Bars with ETA, and with a curve where there is one, on a terminal, plain lines every few
    seconds in a pipe; all on stderr.
    """

    def __init__(self) -> None:
        self.is_quiet = False
        self._tty = sys.stderr.isatty()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._curves: dict[str, str] = {}
        self._last_line = 0.0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` steps of a stage are over."""
        if self.is_quiet:
            return
        if self._tty:
            self._update_bar(stage, done, total, note)
        elif done >= total or time.monotonic() - self._last_line > 5:
            self._last_line = time.monotonic()
            tell(f"{stage}: {done}/{total} {note}".rstrip())

    def curve(self, stage: str, values: Sequence[float]) -> None:
        """Show values beside a stage's bar, from its next update on."""
        self._curves[stage] = sparkline(values)

    def say(self, message: str) -> None:
        """Print one line about what happens now."""
        if self.is_quiet:
            return
        self.close()
        tell(message)

    def close(self) -> None:
        """Leave the bars as they stand."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}

    def _update_bar(self, stage: str, done: int, total: int, note: str) -> None:
        from rich import progress as bars
        from rich.console import Console

        if self._bars is None:
            self._bars = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=20),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
                bars.TextColumn("{task.fields[note]} {task.fields[curve]}", markup=False),
                console=Console(stderr=True),
            )
            self._bars.start()
        fields = {"note": printable(note), "curve": self._curves.get(stage, "")}
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, **fields)
        self._bars.update(self._tasks[stage], completed=done, total=total, **fields)


PROGRESS = TerminalProgress()
