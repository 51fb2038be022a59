"""A subnet compiled with TVM: functions in a library, weights in a file beside it."""

import platform
from dataclasses import dataclass

from ...errors import ExportError
from ...runtime.execution import leave_tvm_threads_unbound

PRECISIONS = ("fp32", "int8")

# as in runtime/tvm_engine.py, which imports nothing from here
TILE_ROWS = 8
"""Positions of an input that are computed together; the runtime fills inputs up to a multiple."""


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


def fill_tiles(num_positions: int) -> int:
    """The next multiple of `TILE_ROWS`."""
    # `//` rounds down, and so up between two minus signs
    return -(-num_positions // TILE_ROWS) * TILE_ROWS


def import_tvm() -> None:
    """Make sure that TVM is there, and leaves this process on all processors."""
    try:
        import tvm  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"TVM cannot be imported ({error}); run: pip install 'mosdeploy[tvm]'"
        ) from error
    leave_tvm_threads_unbound()
