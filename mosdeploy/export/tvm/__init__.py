"""A subnet compiled with TVM: functions in a library, weights in a file beside it."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from ...config.device import DeviceProfile
from ...errors import ConfigError, ExportError
from ...runtime.execution import leave_tvm_threads_unbound
from ..onnx.builder import Array, Lookup
from ..quantize import LARGEST_CODE, quantize_columns

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

    @classmethod
    def of(cls, profile: DeviceProfile) -> "Processor":
        """What to compile for, from a device profile."""
        if profile.provider != "CPUExecutionProvider":
            raise ConfigError(
                f"'{profile.name}' works with {profile.provider}; TVM bundles run on CPUs alone"
            )
        if profile.kind == "local":
            return cls()
        if profile.machine is None or profile.llvm_cpu is None:
            raise ConfigError(
                f"the profile '{profile.name}' does not say what to compile for; set machine "
                "(x86_64 or aarch64) and llvm_cpu (LLVM's name, such as cortex-a72) in it"
            )
        return cls(profile.machine, profile.llvm_cpu)

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


PANEL = 32
"""Columns of a weight matrix that are stored side by side."""

Packed = dict[str, npt.NDArray[np.generic]]


def panel_width(num_outputs: int) -> int:
    """Columns a panel: `PANEL`, or the largest power of two below it that divides the columns."""
    # PANEL is a power of two, so its common divisors are too
    return gcd(num_outputs, PANEL)


def pack_panels(matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Turn (K, N) into (N / P, K, P): panels of P columns, each contiguous."""
    num_inputs, num_outputs = matrix.shape
    width = panel_width(num_outputs)
    # (K, N) -> (K, N / P, P) -> (N / P, K, P)
    panels = matrix.reshape(num_inputs, num_outputs // width, width).transpose(1, 0, 2)
    return np.ascontiguousarray(panels)


class WeightPacker:
    """Packs one layer after the other."""

    def __init__(self, lookup: Lookup, quantized: bool) -> None:
        self._lookup = lookup
        self._quantized = quantized
        # its order is that of the file and of the functions' parameters
        self.packed: Packed = {}

    def positions(self, key: str, table: Array) -> None:
        """Store a table (positions, columns) as it is."""
        self.packed[key] = table

    def embedding(self, key: str, name: str, vocab_size: int, width: int) -> None:
        """Pack a table (vocab_size, width) so that its rows are outputs."""
        table = self._lookup(name, (vocab_size, width))
        # transposed to (K, N): for the logits each token is an output
        self._matrix(key, np.pad(table, ((0, -vocab_size % PANEL), (0, 0))).T)

    def linear(self, owner: str, names: Sequence[str], num_inputs: int, num_outputs: int) -> None:
        """Pack several linear layers of the same input, side by side, as one: `owner.` and all
        names.
        """
        key = f"{owner}.{''.join(names)}"
        shape = (num_outputs, num_inputs)
        weights = [self._lookup(f"{owner}.{name}.weight", shape) for name in names]
        biases = [self._lookup(f"{owner}.{name}.bias", (num_outputs,)) for name in names]
        self._matrix(key, np.concatenate(weights).T)
        self.packed[f"{key}.bias"] = np.concatenate(biases)

    def norm(self, key: str, width: int) -> None:
        """Pack the gain and the bias of a layer norm."""
        for part in ("weight", "bias"):
            self.packed[f"{key}.{part}"] = self._lookup(f"{key}.{part}", (width,))

    def _matrix(self, key: str, matrix: Array) -> None:
        if self._quantized:
            # all of +-127: kernels multiply in float32, where no sum of products saturates
            codes, scales = quantize_columns(matrix, LARGEST_CODE)
            self.packed[key] = pack_panels(codes)
            self.packed[f"{key}.scales"] = scales
        else:
            self.packed[key] = pack_panels(matrix)
