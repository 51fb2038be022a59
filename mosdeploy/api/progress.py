"""How far a verb is, in the notebook that runs it."""

import importlib
import sys
import time
from typing import Any

from ..printable import printable
from ..run_folder.context import Progress, SilentProgress

REDRAW_S = 0.25
"""Between two pictures of a stage that goes on."""


class NotebookProgress:
    """One output below the cell that runs now: a line for each message, and one for each stage,
    which is redrawn as it gets on.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cell: int | None = None
        self._output: Any = None
        self._lines: list[str] = []
        self._places: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._drawn_at = 0.0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` steps of a stage are over."""
        self._follow()
        line = f"{stage}: {done:,} of {total:,} {note}".rstrip()
        if stage in self._places and done >= self._done[stage]:
            self._lines[self._places[stage]] = line
        else:
            self._places[stage] = len(self._lines)
            self._lines.append(line)
        self._done[stage] = done
        if done >= total or time.monotonic() - self._drawn_at > REDRAW_S:
            self._draw()

    def say(self, message: str) -> None:
        """Show one line about what happens now."""
        self._follow()
        self._lines.append(message)
        self._draw()

    def _follow(self) -> None:
        """Begin anew below each cell."""
        if self._cell != self._shell.execution_count:
            self._cell = self._shell.execution_count
            self._output = None
            self._lines = []
            self._places = {}

    def _draw(self) -> None:
        display: Any = importlib.import_module("IPython.display").display
        self._drawn_at = time.monotonic()
        text = {"text/plain": printable("\n".join(self._lines))}
        if self._output is None:
            self._output = display(text, raw=True, display_id=True)
        else:
            self._output.update(text, raw=True)


def default_progress() -> Progress:
    """Lines below the cell if a notebook's kernel runs this process, else silence."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return NotebookProgress(shell) if hasattr(shell, "kernel") else SilentProgress()
