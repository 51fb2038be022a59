"""Precisions and number formats: how each part of a graph is stored, and the arithmetic of storing
it so.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ..spaces.spec import Precision

FloatMatrix = npt.NDArray[np.float32]

Codes = TypeVar("Codes", npt.NDArray[np.int8], npt.NDArray[np.float32])

NumberFormat = Literal["fp32", "int8", "matmulnbits8", "matmulnbits4"]
"""How a linear layer is stored and multiplied."""

LARGEST_PAIRED_CODE = 64
"""Of a weight in `int8`: 2 * 255 * 64 < 2 ** 15."""

LARGEST_CODE = 127
"""Of a weight in `matmulnbits8`."""

ZERO_POINT = 128
"""What is added to the codes of `matmulnbits8`, and so stands for 0."""

TABLE_ZERO_POINT = 136
"""What stands for 0 in an embedding table: 8 in the upper four bits, and half a step of them, so
that cutting off the lower four bits rounds.
"""

_LARGEST_TABLE_CODE = 119
"""Of a table's value, on either side of `TABLE_ZERO_POINT`: 136 + 119 fits into a byte."""

LARGEST_INT4_CODE = 7
"""Of a weight in `matmulnbits4`."""

INT4_ZERO_POINT = 8
"""What is added to the codes of `matmulnbits4`, and so stands for 0."""

TableFormat = Literal["fp32", "int8"]

_BLOCK_SIZES = (128, 64, 32, 16)


@dataclass(frozen=True)
class PrecisionScheme:
    """The number format of each part of a graph."""

    encoder: NumberFormat
    step: NumberFormat
    wide_step: NumberFormat
    table: TableFormat
    int4_logits: bool = False

    def format_of(self, part: str, num_rows: int) -> NumberFormat:
        """Number format of the linear layers in a part of a graph."""
        if part == "encoder":
            return self.encoder
        if part == "step":
            return self.step if num_rows == 1 else self.wide_step
        raise ValueError(f"a graph has no part '{part}'; the parts are 'encoder' and 'step'")


SCHEMES: dict[Precision, PrecisionScheme] = {
    "fp32": PrecisionScheme("fp32", "fp32", "fp32", "fp32"),
    "fp32-int4-logits": PrecisionScheme("fp32", "fp32", "fp32", "fp32", int4_logits=True),
    "int8": PrecisionScheme("int8", "int8", "int8", "int8"),
    "int8-fp32-embedding": PrecisionScheme("int8", "int8", "int8", "fp32"),
    "int8-int4-logits": PrecisionScheme("int8", "matmulnbits8", "int8", "int8", int4_logits=True),
    "int4": PrecisionScheme("int8", "matmulnbits4", "matmulnbits4", "int8", int4_logits=True),
}


def quantize_columns(
    matrix: FloatMatrix, largest_code: int
) -> tuple[npt.NDArray[np.int8], FloatMatrix]:
    """Quantise each column of a matrix on its own, symmetrically."""
    scales = _scales(matrix, 0, largest_code)
    # to the nearest code, ties to even; symmetric, so that zero is exact
    return np.rint(matrix / scales).astype(np.int8), scales


def quantize_table(table: FloatMatrix) -> tuple[npt.NDArray[np.uint8], FloatMatrix]:
    """Quantise each row of an embedding table on its own, so that its codes' upper halves serve as
    four-bit codes.
    """
    scales = _scales(table, 1, _LARGEST_TABLE_CODE)
    return (np.rint(table / scales[:, None]) + TABLE_ZERO_POINT).astype(np.uint8), scales


def matrix_bytes(num_inputs: int, num_outputs: int, number_format: NumberFormat) -> int:
    """Bytes of a linear layer's weights in a file, bias not included."""
    if number_format == "fp32":
        return 4 * num_inputs * num_outputs
    if number_format == "int8":
        return (num_inputs + 4) * num_outputs  # one scale an output
    # the last block is stored whole, however little of it is used
    blocks = num_blocks(num_inputs)
    codes = blocks * block_size(num_inputs)
    if number_format == "matmulnbits8":
        return (codes + 4) * num_outputs  # one scale an output, repeated when the model is loaded
    return (codes // 2 + 4 * blocks) * num_outputs  # one scale a block


def table_bytes(vocab_size: int, dim: int, table_format: TableFormat) -> int:
    """Bytes of (a part of) an embedding table in a file."""
    return vocab_size * (4 * dim if table_format == "fp32" else dim + 4)


def block_size(num_inputs: int) -> int:
    """Inputs a block of MatMulNBits: the largest that divides them, or the smallest, whose last
    block is filled up.
    """
    return next((size for size in _BLOCK_SIZES if num_inputs % size == 0), _BLOCK_SIZES[-1])


def num_blocks(num_inputs: int) -> int:
    """Blocks of `block_size` that hold so many inputs."""
    return -(-num_inputs // block_size(num_inputs))


def in_blocks(rows: Codes) -> Codes:
    """Cut each row of (N, K) into blocks, (N, blocks, block size), the last one filled up with
    zeros.
    """
    num_outputs, num_inputs = rows.shape
    size = block_size(num_inputs)
    blocks = num_blocks(num_inputs)
    # zeros add nothing to a product, whatever stands in the input beside them
    filled = np.pad(rows, ((0, 0), (0, size * blocks - num_inputs)))
    return filled.reshape(num_outputs, blocks, size)


def quantize_blocks(matrix: FloatMatrix) -> tuple[npt.NDArray[np.uint8], FloatMatrix]:
    """Quantise the columns of a matrix to four bits, each block of a column on its own,
    symmetrically.
    """
    blocks = in_blocks(matrix.T)  # (N, blocks, block size)
    scales = _scales(blocks, 2, LARGEST_INT4_CODE)
    codes = (np.rint(blocks / scales[..., None]) + INT4_ZERO_POINT).astype(np.uint8)
    # two codes a byte
    return codes[..., ::2] | codes[..., 1::2] << 4, scales


def _scales(values: FloatMatrix, axis: int, largest_code: int) -> FloatMatrix:
    scales: FloatMatrix = (np.abs(values).max(axis=axis) / largest_code).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # nothing but zeros (or subnormals)
    return scales
