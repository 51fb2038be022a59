"""SIGTERM and SIGHUP, which end a verb as Ctrl-C does: what is begun is put away, what is measured
on a device is ended, and the exit code names the signal.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass
class Ending:
    """Which signal ended a verb; Ctrl-C if none of the others did."""

    number: signal.Signals = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """That of a shell whose command was ended by the signal: 130, 143 or 129."""
        return 128 + self.number

    @property
    def reason(self) -> str:
        """For the message."""
        return "interrupted" if self.number == signal.SIGINT else f"ended by {self.number.name}"


@contextlib.contextmanager
def as_interrupts() -> Iterator[Ending]:
    """Turn the signals into a KeyboardInterrupt for as long as the block runs.

    A second one ends the process at once. One that is ignored, as SIGHUP is under nohup, stays so;
    and of several processes that torchrun started, each ends at once, since one that waits for
    another in a library hears no Python.
    """
    ending = Ending()

    def end(number: int, frame: FrameType | None) -> None:
        ending.number = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    taken = [x for x in SIGNALS if is_alone and signal.getsignal(x) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield ending
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
