"""Where the initialisers of a graph get their values: trained weights, or nothing but shapes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from ...errors import ExportError

Array = npt.NDArray[np.float32]

WEIGHTS_NAME = "weights.bin"
"""File beside a candidate that holds its weights; the device fills it with random numbers once."""

ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and element type of one initialiser."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float32

    @property
    def num_bytes(self) -> int:
        """Length of the values."""
        # a scalar has shape (), whose product is 1
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def onnx_type(self) -> int:
        """Element type as ONNX numbers it."""
        return helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))


Lookup = Callable[[str, tuple[int, ...]], Array]
"""Name and expected shape of a weight to its values."""

Compute = Callable[[Lookup], tuple[npt.NDArray[np.generic], ...]]
"""Makes the values of initialisers from weights that it looks up."""


class InitializerSource(Protocol):
    """Makes initialisers."""

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Make the initialisers `specs`, whose values `compute` derives from the state dict."""


class InlineInitializers:
    """Inline initialisers from an extracted subnet's state dict (name -> float array, shapes as
    PyTorch has them).
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Compute the values and store them in the tensors."""
        made = []
        for spec, array in zip(specs, compute(self.lookup), strict=True):
            # ONNX Runtime would fail much later, at the operator that reads it
            if array.shape != spec.shape:
                raise ExportError(
                    f"initialiser {spec.name} came out as {array.shape}, expected {spec.shape}"
                )
            tensor = _header(spec)
            # ONNX stores raw data little-endian, whatever this machine does
            little_endian = np.dtype(spec.dtype).newbyteorder("<")
            tensor.raw_data = np.ascontiguousarray(array, dtype=little_endian).tobytes()
            made.append(tensor)
        return made

    def lookup(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return one weight, checked; raises as `tensors` does."""
        if name not in self._arrays:
            raise ExportError(
                f"the subnet has no weight '{name}'; extract it anew from the supernet"
            )
        # no copy where the array is float32 already
        array = np.asarray(self._arrays[name], dtype=np.float32)
        if array.shape != shape:
            raise ExportError(
                f"weight '{name}' is {array.shape}, but the architecture asks for {shape}"
            )
        # a graph with NaN in it loads and runs, and only its answers are wrong
        if not np.isfinite(array).all():
            raise ExportError(
                f"weight '{name}' holds NaN or infinity; the training diverged: "
                "run `mosdeploy train` anew"
            )
        return array


class ExternalInitializers:
    """External initialisers at distinct aligned offsets of one file, which need not exist here."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Reserve a place in the file for each tensor; `compute` is not called."""
        return [self._reserve(spec) for spec in specs]

    def _reserve(self, spec: TensorSpec) -> TensorProto:
        tensor = _header(spec)
        tensor.data_location = TensorProto.EXTERNAL
        # ONNX wants the numbers as text; the place is relative to the model's folder
        place = {
            "location": WEIGHTS_NAME,
            "offset": str(self.size_bytes),
            "length": str(spec.num_bytes),
        }
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
        # the next tensor starts at a multiple of ALIGNMENT_BYTES, so that no kernel reads unaligned
        self.size_bytes += -(-spec.num_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        return tensor


class NoInitializers:
    """Tensors without data: what is left is the size of everything else."""

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Make empty tensors; `compute` is not called."""
        return [_header(spec) for spec in specs]


def _header(spec: TensorSpec) -> TensorProto:
    # all but the values, so that the graph around them is the same with and without
    return TensorProto(name=spec.name, dims=spec.shape, data_type=spec.onnx_type)
