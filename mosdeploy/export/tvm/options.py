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
    """Where tuning records are kept, what they are for, and how long to search for more."""

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
    """How a library is made."""

    max_positions: int
    processor: Processor = Processor()
    tuning: Tuning | None = None
    notify: Notify = _ignore


def fill_tiles(num_positions: int) -> int:
    """The next multiple of `TILE_ROWS`."""
    # `//` rounds down, and so up between two minus signs
    return -(-num_positions // TILE_ROWS) * TILE_ROWS
