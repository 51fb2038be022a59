"""SIGTERM and SIGHUP, which end a verb as Ctrl-C does: what is begun is put away, what is measured
on a device is ended, and the exit code names the signal.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
AGAIN_SECONDS = 0.01


# no dataclass: to import those takes as long as all else that comes before the handlers
class Ending:
    """Which signal ended a verb; Ctrl-C if none of the others did."""

    def __init__(self) -> None:
        self.number = signal.SIGINT
        # raised where Python can raise nothing, as in a destructor, and not raised again yet
        self.is_lost = False
        # sent again, and not heard yet: a second one on top would end the process
        self.is_sent = False
        self.is_telling = False
        self.has_come = False

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

    A second one ends the process at once; a second Ctrl-C is a KeyboardInterrupt again. One that is
    ignored, as SIGHUP is under nohup, stays so; and of several processes that torchrun started,
    each ends at once, since one that waits for another in a library runs no Python code.
    """
    ending = Ending()

    def end(number: int, frame: FrameType | None) -> None:
        if ending.is_telling:  # `send_again` is at work, where it would be lost once more
            ending.is_sent = False
            return
        ending.number = signal.Signals(number)
        ending.is_lost = ending.is_sent = False
        ending.has_come = True
        signal.signal(number, before[number])
        raise KeyboardInterrupt

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)
            return
        try:
            ending.is_telling = ending.is_lost = True
            signal.signal(ending.number, end)
            # not from here: what is raised in this hook is lost too
            threading.Thread(target=_send, args=[ending], daemon=True).start()
        finally:  # no thread may be left to start: the next signal counts
            ending.is_telling = False

    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    handlers = {int(x): signal.getsignal(x) for x in SIGNALS if is_alone}
    before = {number: x for number, x in handlers.items() if x in DEFAULTS}
    hook = sys.unraisablehook
    for number in before:
        signal.signal(number, end)
    if before:
        sys.unraisablehook = send_again
    try:
        yield ending
    finally:
        ending.is_lost = False
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(ending: Ending) -> None:
    """Send the signal until it is raised where that counts."""
    while ending.is_lost:
        time.sleep(AGAIN_SECONDS)
        if ending.is_lost and not ending.is_sent:
            ending.is_sent = True
            os.kill(os.getpid(), ending.number)
