"""What to compile for, and how long to tune: plain values, which need no TVM."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PRECISIONS = ("fp32", "int8")

# as in runtime/tvm_engine.py, which imports nothing from here
TILE_ROWS = 8
"""Positions of an input that are computed together; the runtime fills inputs up to a multiple."""

Notify = Callable[[float, str], None]
"""(seconds spent on tuning, what came of it last)."""


@dataclass(frozen=True)
class Processor:
    """What to compile for: `machine` as `uname -m` says it, `cpu` as LLVM calls it; None means this
    machine's.

    Examples
    --------
    >>> str(Processor("aarch64", "cortex-a72"))
    'aarch64 cortex-a72'
    """

    machine: str = platform.machine()
    cpu: str | None = None

    @property
    def is_this_one(self) -> bool:
        """Whether what is compiled runs here for certain."""
        # a processor with a name counts as another one, even where it is the same
        return self == Processor()

    def __str__(self) -> str:
        return f"{self.machine} {self.cpu}" if self.cpu else f"{self.machine} (where it was built)"


@dataclass(frozen=True)
class Tuning:
    """Where tuning records are kept, what they are for, and how long to search for more.

    Attributes
    ----------
    folder
        Holds a folder for each processor and number of threads.
    input_len
        Inputs that are filled up to as many positions as this many tokens get functions of their
        own, which are tuned.
    threads
        Threads that the layers are timed with.
    budget_s
        Seconds to search, over all runs together; 0 takes what is on record.
    """

    folder: Path
    input_len: int
    threads: int
    budget_s: float = 0.0

    @property
    def padded_len(self) -> int:
        """`input_len`, filled up to whole tiles."""
        # the length in the name of the tuned `encode_LENGTH`, by which the runtime finds it
        return fill_tiles(self.input_len)


def _ignore(seconds: float, note: str) -> None:
    pass


@dataclass(frozen=True)
class TvmOptions:
    """How a library is made.

    Attributes
    ----------
    max_positions
        Longest input (end token included) and most decode steps.
    tuning
        Search for better schedules on this machine first, or take those on record; None takes the
        untuned ones.
    notify
        Told of the progress of tuning.
    """

    max_positions: int
    processor: Processor = Processor()
    tuning: Tuning | None = None
    notify: Notify = _ignore


def fill_tiles(num_positions: int) -> int:
    """The next multiple of `TILE_ROWS`.

    Examples
    --------
    >>> fill_tiles(8), fill_tiles(9)
    (8, 16)
    """
    # `//` rounds down, and so up between two minus signs
    return -(-num_positions // TILE_ROWS) * TILE_ROWS
