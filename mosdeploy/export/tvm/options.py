"""What to compile for, and how long to tune: plain values, which need no TVM."""

import platform
from dataclasses import dataclass
from pathlib import Path

LIBRARY_NAME, WEIGHTS_NAME = "model.so", "weights.bin"
PRECISIONS = ("fp32", "int8")


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
    source_len
        Sources that are filled up to as many positions as this many pieces get an encoder of their
        own, which is tuned.
    threads
        Threads that the layers are timed with.
    budget_s
        Seconds to search, over all runs together; 0 takes what is on record.
    """

    folder: Path
    source_len: int
    threads: int
    budget_s: float = 0.0
