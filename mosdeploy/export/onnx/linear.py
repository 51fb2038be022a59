"""A linear layer as nodes, in any number format.

In: a scope, tensor names, weight names of the state dict. Out: nodes and initialisers. This file
knows no attention, no layer order and no loop.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..quantize import (
    LARGEST_CODE,
    LARGEST_PAIRED_CODE,
    ZERO_POINT,
    NumberFormat,
    block_size,
    in_blocks,
    num_blocks,
    quantize_blocks,
    quantize_columns,
)
from .builder import CONTRIB, GraphBuilder
from .initializers import Array, Lookup, TensorSpec

_INT8_ACTIVATIONS = 4
"""MatMulNBits' accuracy level at which it quantises activations to a byte."""


@dataclass(frozen=True)
class LinearLayer:
    """One linear layer of the graph, made of one or more of the state dict, side by side.

    Attributes
    ----------
    owner, names
        State-dict names are `{owner}.{name}.weight` and `.bias`; more than one for query, key and
        value.
    num_inputs, num_outputs
        Width of the input, and of the output of *each* of the names.
    number_format
        How the weights are stored and multiplied.
    """

    owner: str
    names: tuple[str, ...]
    num_inputs: int
    num_outputs: int
    number_format: NumberFormat

    @property
    def name(self) -> str:
        return f"{self.owner}.{''.join(self.names)}"

    def bias(self, scope: GraphBuilder) -> str:
        """The bias vector (num_outputs * len(names),), for an operator that adds it by itself."""
        spec = TensorSpec(f"{self.name}.bias", (self.num_outputs * len(self.names),))
        return scope.parameters(
            [spec],
            lambda get: (
                np.concatenate(
                    [get(f"{self.owner}.{name}.bias", (self.num_outputs,)) for name in self.names]
                ),
            ),
        )[0]

    def product(self, scope: GraphBuilder, x: str) -> str:
        """Multiply (..., num_inputs) by the weights; no bias."""
        return self._product(scope, x, "")

    def apply(self, scope: GraphBuilder, x: str) -> str:
        """Multiply (..., num_inputs) by the weights and add the bias."""
        if self.number_format == "fp32":
            return scope.op("Add", self.product(scope, x), self.bias(scope))
        return self._product(scope, x, self.bias(scope))

    def _product(self, scope: GraphBuilder, x: str, bias: str) -> str:
        if self.number_format == "fp32":
            return scope.op("MatMul", x, self._weights(scope))
        if self.number_format == "int8":
            return scope.op("DynamicQuantizeMatMul", x, *self._columns(scope), bias, domain=CONTRIB)
        bits, tensors = (
            (8, self._rows(scope))
            if self.number_format == "matmulnbits8"
            else (4, self._halves(scope))
        )
        return multiply_rows(scope, x, *tensors, bias, self._shape, bits)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.num_inputs, self.num_outputs * len(self.names)

    def _matrix(self, get: Lookup) -> Array:
        shape = (self.num_outputs, self.num_inputs)
        return np.concatenate([get(f"{self.owner}.{name}.weight", shape) for name in self.names]).T

    def _weights(self, scope: GraphBuilder) -> str:
        return scope.parameters(
            [TensorSpec(f"{self.name}.weight", self._shape)], lambda get: (self._matrix(get),)
        )[0]

    def _columns(self, scope: GraphBuilder) -> tuple[str, str, str]:
        codes, scales = scope.parameters(
            [
                TensorSpec(f"{self.name}.codes", self._shape, np.int8),
                TensorSpec(f"{self.name}.scales", self._shape[1:]),
            ],
            lambda get: quantize_columns(self._matrix(get), LARGEST_PAIRED_CODE),
        )
        return codes, scales, scope.constant(0, np.int8)

    def _rows(self, scope: GraphBuilder) -> tuple[str, str]:
        """Codes (N, blocks, block size) and a scale an output; the file holds no more than in int8."""
        num_inputs, num_outputs = self._shape

        def quantize(get: Lookup) -> tuple[npt.NDArray[np.generic], Array]:
            codes, scales = quantize_columns(self._matrix(get), LARGEST_CODE)
            return in_blocks(codes.T).view(np.uint8) ^ ZERO_POINT, scales  # the same as adding it

        shape = (num_outputs, num_blocks(num_inputs), block_size(num_inputs))
        specs = [
            TensorSpec(f"{self.name}.codes", shape, np.uint8),
            TensorSpec(f"{self.name}.scales", shape[:1]),
        ]
        codes, scales = scope.parameters(specs, quantize)
        return codes, repeat_scales(scope, scales, shape[1])

    def _halves(self, scope: GraphBuilder) -> tuple[str, str]:
        num_inputs, num_outputs = self._shape
        shape = (num_outputs, num_blocks(num_inputs), block_size(num_inputs) // 2)
        specs = [
            TensorSpec(f"{self.name}.codes", shape, np.uint8),
            TensorSpec(f"{self.name}.scales", shape[:2]),
        ]
        codes, scales = scope.parameters(specs, lambda get: quantize_blocks(self._matrix(get)))
        return codes, scales


def repeat_scales(scope: GraphBuilder, scales: str, blocks: int) -> str:
    """Scales (N,) for each of the blocks of an output, (N, blocks); computed once, when the model
    is loaded.
    """
    column = scope.root.op("Unsqueeze", scales, scope.constant([1]))
    return scope.root.op("Tile", column, scope.constant([1, blocks]))


def multiply_rows(
    scope: GraphBuilder,
    x: str,
    codes: str,
    scales: str,
    bias: str,
    shape: tuple[int, int],
    bits: int,
) -> str:
    """Multiply (..., K) by codes in blocks; `shape` is (K, N), `bias` may be empty."""
    settings = {"K": shape[0], "N": shape[1], "bits": bits, "block_size": block_size(shape[0])}
    inputs = (x, codes, scales, "", "", bias) if bias else (x, codes, scales)
    return scope.op(
        "MatMulNBits", *inputs, domain=CONTRIB, accuracy_level=_INT8_ACTIVATIONS, **settings
    )
