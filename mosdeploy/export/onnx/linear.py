"""A linear layer as nodes, in any number format."""

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
from .builder import CONTRIB, Array, GraphBuilder, Lookup, TensorSpec

_INT8_ACTIVATIONS = 4
"""MatMulNBits' accuracy level at which it quantises activations to a byte."""


@dataclass(frozen=True)
class LinearLayer:
    """One linear layer of the graph, made of one or more of the state dict, side by side."""

    owner: str
    names: tuple[str, ...]
    num_inputs: int
    num_outputs: int
    number_format: NumberFormat

    @property
    def name(self) -> str:
        """What the names of its initialisers start with."""
        return self._key("".join(self.names))

    def bias(self, builder: GraphBuilder) -> str:
        """The bias vector (num_outputs * len(names),), for an operator that adds it by itself."""
        spec = TensorSpec(f"{self.name}.bias", self._shape[1:])

        def concatenate(get: Lookup) -> tuple[Array]:
            shape = (self.num_outputs,)
            return (np.concatenate([get(f"{self._key(x)}.bias", shape) for x in self.names]),)

        return builder.parameters([spec], concatenate)[0]

    def product(self, builder: GraphBuilder, x: str) -> str:
        """Multiply (..., num_inputs) by the weights; no bias."""
        return self._product(builder, x, "")

    def apply(self, builder: GraphBuilder, x: str) -> str:
        """Multiply (..., num_inputs) by the weights and add the bias."""
        # the quantised operators add the bias themselves
        if self.number_format == "fp32":
            return builder.op("Add", self.product(builder, x), self.bias(builder))
        return self._product(builder, x, self.bias(builder))

    def _product(self, builder: GraphBuilder, x: str, bias: str) -> str:
        if self.number_format == "fp32":
            return builder.op("MatMul", x, self._weights(builder))
        if self.number_format == "int8":
            # quantises activations on the fly, one scale for all of them
            columns = self.columns(builder)
            return builder.op("DynamicQuantizeMatMul", x, *columns, bias, domain=CONTRIB)
        if self.number_format == "matmulnbits8":
            blocks = NBitBlocks(*self._shape, 8, *self._byte_blocks(builder))
        else:
            blocks = NBitBlocks(*self._shape, 4, *self._nibble_blocks(builder))
        return blocks.multiply(builder, x, bias)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.num_inputs, self.num_outputs * len(self.names)  # (K, N)

    def _matrix(self, get: Lookup) -> Array:
        # torch holds (outputs, inputs)
        shape = (self.num_outputs, self.num_inputs)
        return np.concatenate([get(f"{self._key(x)}.weight", shape) for x in self.names]).T

    def _key(self, name: str) -> str:
        return f"{self.owner}.{name}" if self.owner else name

    def _weights(self, builder: GraphBuilder) -> str:
        spec = TensorSpec(f"{self.name}.weight", self._shape)
        return builder.parameters([spec], lambda get: (self._matrix(get),))[0]

    def _specs(
        self, codes_shape: tuple[int, ...], dtype: type[np.generic], scales_shape: tuple[int, ...]
    ) -> list[TensorSpec]:
        return [
            TensorSpec(f"{self.name}.codes", codes_shape, dtype),
            TensorSpec(f"{self.name}.scales", scales_shape),
        ]

    def columns(self, builder: GraphBuilder) -> tuple[str, str, str]:
        """Int8 codes (K, N), scales (N,) and the zero point."""
        codes, scales = builder.parameters(
            self._specs(self._shape, np.int8, self._shape[1:]),
            lambda get: quantize_columns(self._matrix(get), LARGEST_PAIRED_CODE),
        )
        # symmetric codes: 0 stands for 0 in every column
        return codes, scales, builder.constant(0, np.int8)

    def _byte_blocks(self, builder: GraphBuilder) -> tuple[str, str]:
        """Codes (N, blocks, block size) and scales (N, blocks)."""
        num_inputs, num_outputs = self._shape

        def quantize(get: Lookup) -> tuple[npt.NDArray[np.generic], Array]:
            codes, scales = quantize_columns(self._matrix(get), LARGEST_CODE)
            # from int8 around 0 to uint8 around 128: flipping the sign bit adds 128
            return in_blocks(codes.T).view(np.uint8) ^ ZERO_POINT, scales

        shape = (num_outputs, num_blocks(num_inputs), block_size(num_inputs))
        codes, scales = builder.parameters(self._specs(shape, np.uint8, shape[:1]), quantize)
        # one scale an output is stored, so that the file is no larger than in int8
        return codes, repeat_scales(builder, scales, shape[1])

    def _nibble_blocks(self, builder: GraphBuilder) -> tuple[str, str]:
        """Codes (N, blocks, block size / 2), two in a byte, and scales (N, blocks)."""
        num_inputs, num_outputs = self._shape
        shape = (num_outputs, num_blocks(num_inputs), block_size(num_inputs) // 2)
        codes, scales = builder.parameters(
            self._specs(shape, np.uint8, shape[:2]), lambda get: quantize_blocks(self._matrix(get))
        )
        return codes, scales


@dataclass(frozen=True)
class NBitBlocks:
    """A matrix (num_inputs, num_outputs) as the operator MatMulNBits reads it."""

    num_inputs: int
    num_outputs: int
    bits: int
    codes: str
    scales: str

    def multiply(self, builder: GraphBuilder, x: str, bias: str = "") -> str:
        """Multiply (..., K) by the matrix; add the bias (N,) if there is one."""
        # between scales and bias: zero points and a group index, both left out
        optional = ("", "", bias) if bias else ()
        return builder.op(
            "MatMulNBits",
            *(x, self.codes, self.scales, *optional),
            domain=CONTRIB,
            K=self.num_inputs,
            N=self.num_outputs,
            bits=self.bits,
            block_size=block_size(self.num_inputs),
            accuracy_level=_INT8_ACTIVATIONS,
        )


def repeat_scales(builder: GraphBuilder, scales: str, blocks: int) -> str:
    """Scales (N,) for each of the blocks of an output, (N, blocks); computed once, when the model
    is loaded.
    """
    root = builder.root
    return root.op(
        "Tile", root.op("Unsqueeze", scales, root.constant([1])), root.constant([1, blocks])
    )
