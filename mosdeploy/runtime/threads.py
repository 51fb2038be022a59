"""How many threads a bundle may use, and where they run."""

from __future__ import annotations

import os
from numbers import Integral

from .errors import InputError

MAX_THREADS = 1024


def num_threads(asked: object, measured: int) -> int:
    """Threads to use: as many as are asked for, else as the bundle was measured with.

    Raises
    ------
    InputError
        If what is asked for is no whole number from 1 to `MAX_THREADS`.

    Examples
    --------
    >>> num_threads(None, measured=4)
    4
    """
    if asked is None:
        return measured
    if (
        isinstance(asked, bool)
        or not isinstance(asked, Integral)
        or not 1 <= int(asked) <= MAX_THREADS
    ):
        raise InputError(
            f"threads is a whole number from 1 to {MAX_THREADS}, or None for those that the bundle "
            f"was measured with, not {asked!r}"
        )
    return int(asked)


def leave_tvm_threads_unbound() -> None:
    """Let TVM's threads run on all processors, unless `TVM_BIND_THREADS` says otherwise.

    By default TVM keeps the thread that calls it, and so each process which that starts later, on
    some of them: of an x86 machine with two, on the first.
    """
    os.environ.setdefault("TVM_BIND_THREADS", "0")
