"""Where the time of answering goes: splitting texts into tokens, running the model, the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Timing:
    """Seconds since a model was opened, over all lines that it answered.

    Attributes
    ----------
    tokenising_s
        Texts to token ids and back.
    running_s
        The model itself, and padding its inputs.
    total_s
        All of it, from lines to answers.
    num_lines
        How many lines were answered.

    Examples
    --------
    >>> timing = Timing()
    >>> with timing.measure("total_s"), timing.measure("running_s"):
    ...     pass
    >>> timing.total_s >= timing.running_s > 0
    True
    """

    def __init__(self) -> None:
        self.tokenising_s = 0.0
        self.running_s = 0.0
        self.total_s = 0.0
        self.num_lines = 0

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add what the block takes to one of the attributes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.perf_counter() - start)

    def __str__(self) -> str:
        """One line for people."""
        parts = (
            ("tokenising", self.tokenising_s),
            ("running", self.running_s),
            ("total", self.total_s),
        )
        times = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in parts)
        per_line = 1000 * self.total_s / max(1, self.num_lines)
        return f"{times} for {self.num_lines} lines, {per_line:.2f} ms a line"
