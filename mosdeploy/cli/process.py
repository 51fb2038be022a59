"""The process of a command: signals that end it as Ctrl-C does, and streams that it writes to."""

import contextlib
import io
import locale
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
AGAIN_S = 0.01
TERMINAL_ENCODING = "MOSDEPLOY_TERMINAL_ENCODING"
"""Variable with the encoding of terminals, for the process that `restart_in_utf8` begins."""


# no dataclass: to import those takes as long as all else that comes before the handlers
class SignalExit:
    """The signal that ended a verb; Ctrl-C if none of the others did."""

    def __init__(self) -> None:
        self.number = signal.SIGINT
        self.has_come = False

    @property
    def exit_code(self) -> int:
        """Exit code of a shell whose command was ended by the signal: 130, 143 or 129."""
        return 128 + self.number

    @property
    def reason(self) -> str:
        """Words for the message."""
        return "interrupted" if self.number == signal.SIGINT else f"ended by {self.number.name}"


@contextlib.contextmanager
def as_interrupts() -> Iterator[SignalExit]:
    """Turn the signals into a KeyboardInterrupt for as long as the block runs.

    A second one ends the process at once; a second Ctrl-C is a KeyboardInterrupt again. A signal
    that is ignored, as SIGHUP is under nohup, stays so. Each of several processes that torchrun
    started ends at once: while it waits for another in a library it runs no Python code.
    """
    found = SignalExit()

    def end(number: int, frame: FrameType | None) -> None:
        found.number = signal.Signals(number)
        found.has_come = True
        signal.signal(number, before[number])
        raise KeyboardInterrupt

    def end_again(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def retry(unraisable: "sys.UnraisableHookArgs") -> None:
        # in a destructor Python reports an exception and goes on: raise it again, a moment later
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        else:
            hook(unraisable)

    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    handlers = {int(x): signal.getsignal(x) for x in SIGNALS if is_alone}
    before = {number: x for number, x in handlers.items() if x in DEFAULTS}
    alarm = signal.getsignal(signal.SIGALRM)
    hook = sys.unraisablehook
    for number in before:
        signal.signal(number, end)
    if before:
        signal.signal(signal.SIGALRM, end_again)
        sys.unraisablehook = retry
    try:
        yield found
    finally:
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def restart_in_utf8() -> None:
    """Run the same command again in Python's UTF-8 mode where the locale has another encoding.

    Run files and records name files in UTF-8.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ[TERMINAL_ENCODING] = locale.getencoding()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class LossyStream(io.FileIO):
    """A stream that loses what it cannot write, as on a full disk.

    stderr is one: the answer and the exit code of a verb are elsewhere.
    """

    def write(self, data: Any, /) -> int:
        """Write, or lose it."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare_streams() -> None:
    """Write to a terminal in its own encoding and to files in UTF-8; let stderr never fail."""
    if sys.stderr is None:  # closed, as by a daemon: `print` would take stdout
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # as long as the program
    shown = os.environ.get(TERMINAL_ENCODING)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_known = shown is not None and "PYTHONIOENCODING" not in os.environ
            encoding = shown if is_known and stream.isatty() else None
            # a terminal that lacks a letter gets its number, and not a traceback
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    # not a test's, and not what was opened above: nothing else would hold that open
    if type(sys.stderr) is io.TextIOWrapper and sys.__stderr__ is not None:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(LossyStream(sys.stderr.fileno(), "wb", closefd=False)),
            sys.stderr.encoding,
            sys.stderr.errors,
            line_buffering=True,
        )
