"""How a model is run: on how many threads, which inputs share a call, and where the time goes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from numbers import Integral

from .errors import InputError

MAX_THREADS = 256

CPU_PROVIDER = "CPUExecutionProvider"
GPU_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"


def num_threads(asked: object, measured: int) -> int:
    """Threads to use: as many as are asked for, else as the bundle was measured with, but no more
    than there are processors.

    >>> num_threads(3, measured=1)
    3
    """
    if asked is None:
        return min(measured, os.cpu_count() or 1)
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
    """Let TVM's threads run on all processors, unless `TVM_BIND_THREADS` says otherwise."""
    # else TVM keeps the thread that calls it, and each process that it starts later, on some: of an
    # x86 machine with two processors, on the first
    os.environ.setdefault("TVM_BIND_THREADS", "0")


def group_by_length(lengths: Sequence[int], max_rows: int, max_positions: int) -> list[list[int]]:
    """Indices of inputs, longest first, in groups of at most `max_rows` whose padded positions are
    at most `max_positions`; what is longer than that is a group of its own.

    >>> group_by_length([3, 9, 4, 8], max_rows=2, max_positions=100)
    [[1, 3], [2, 0]]
    """
    groups: list[list[int]] = []
    most = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and len(groups[-1]) < most:
            groups[-1].append(i)
        else:
            groups.append([i])
            # the first of a group is its longest: all others are padded to it
            most = min(max_rows, max_positions // max(1, lengths[i]))
    return groups


class Timing:
    """Seconds since a model was opened, over all lines that it answered: `tokenising_s` (texts to
    token ids and back), `running_s` (the model, and padding its inputs) and `total_s`.
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
        tokenising, running, total = (
            f"{1000 * seconds:.2f} ms"
            for seconds in (self.tokenising_s, self.running_s, self.total_s)
        )
        per_line = 1000 * self.total_s / max(1, self.num_lines)
        return (
            f"tokenising {tokenising}, running {running}, total {total} for {self.num_lines} "
            f"lines, {per_line:.2f} ms a line"
        )
