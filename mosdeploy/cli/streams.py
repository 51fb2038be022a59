"""Where the command line writes: in which encoding, and what becomes of a stream that fails."""

import io
import locale
import os
import sys
from pathlib import Path
from typing import Any

TERMINAL_ENCODING = "MOSDEPLOY_TERMINAL_ENCODING"
"""What terminals show, for the process that `restart_in_utf8` begins."""


class _Lossy(io.FileIO):
    """A file that loses what cannot be written, as on a full disk: the answer and the exit code of
    a verb are elsewhere.
    """

    def write(self, data: Any, /) -> int:
        """Write, or lose it."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def restart_in_utf8() -> None:
    """Run the same command again in Python's UTF-8 mode where the locale has another encoding: the
    names of files in run files and records are UTF-8.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ[TERMINAL_ENCODING] = locale.getencoding()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def prepare_streams() -> None:
    """Let a terminal get what it shows, and files and readers UTF-8; let stderr never fail."""
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
            io.BufferedWriter(_Lossy(sys.stderr.fileno(), "wb", closefd=False)),
            sys.stderr.encoding,
            sys.stderr.errors,
            line_buffering=True,
        )
