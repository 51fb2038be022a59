"""Number formats of a graph: how a linear layer, the embedding and the logits are stored and computed.

In: a scope, tensor names, weight names of the state dict. Out: nodes and initialisers of one precision. This file knows
no attention, no layer order and no loop.

int8 means: weights uint8 around 128, symmetric, one scale an output column; activations quantised on the fly, one scale
a tensor (DynamicQuantizeMatMul); everything else stays fp32. Why unsigned: on x86-64 without VNNI, ONNX Runtime
multiplies uint8 activations by *int8* weights with an instruction that saturates at 16 bits, which costs accuracy
without a word; uint8 weights take a kernel that does not saturate, and keep all eight bits.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..config import Precision
from .scope import CONTRIB, Scope
from .weights import Array, Lookup, TensorSpec

NumberFormat = Literal["fp32", "int8"]

ZERO_POINT = 128
_LARGEST_CODE = 127


@dataclass(frozen=True)
class PrecisionScheme:
    """The number format of each part of the graph."""

    encoder: NumberFormat
    decoder: NumberFormat
    table: NumberFormat


SCHEMES: dict[Precision, PrecisionScheme] = {
    "fp32": PrecisionScheme(encoder="fp32", decoder="fp32", table="fp32"),
    "int8": PrecisionScheme(encoder="int8", decoder="int8", table="int8"),
}


def quantize_columns(matrix: Array) -> tuple[npt.NDArray[np.uint8], Array]:
    """Quantise each column of a matrix on its own, symmetrically.

    Parameters
    ----------
    matrix
        Shape (K, N).

    Returns
    -------
    codes, scales
        uint8 (K, N) in 1..255 and float32 (N,); `(codes - 128) * scales` is within half a scale of the matrix.
    """
    scales = (np.abs(matrix).max(axis=0) / _LARGEST_CODE).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a column of zeros (or subnormals)
    codes = np.rint(matrix / scales) + ZERO_POINT
    return codes.astype(np.uint8), scales


# -- linear layers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearLayer:
    """One linear layer of the graph, made of one or more of the state dict, side by side.

    Attributes
    ----------
    owner, names
        State-dict names are `{owner}.{name}.weight` and `.bias`; more than one for query, key and value.
    num_inputs, num_outputs
        Width of the input, and of the output of *each* of the names.
    number_format
        How the weights are stored.
    """

    owner: str
    names: tuple[str, ...]
    num_inputs: int
    num_outputs: int
    number_format: NumberFormat

    @property
    def name(self) -> str:
        return f"{self.owner}.{''.join(self.names)}"

    def bias(self, scope: Scope) -> str:
        """The bias vector (num_outputs * len(names),), for an operator that adds it by itself."""
        spec = TensorSpec(f"{self.name}.bias", (self.num_outputs * len(self.names),))
        return scope.parameters(
            [spec],
            lambda get: (
                np.concatenate([get(f"{self.owner}.{name}.bias", (self.num_outputs,)) for name in self.names]),
            ),
        )[0]

    def product(self, scope: Scope, x: str) -> str:
        """Multiply (..., num_inputs) by the weights; no bias."""
        if self.number_format == "fp32":
            return scope.op("MatMul", x, self._weights(scope))
        return scope.op("DynamicQuantizeMatMul", x, *self._codes(scope), domain=CONTRIB)

    def apply(self, scope: Scope, x: str) -> str:
        """Multiply (..., num_inputs) by the weights and add the bias."""
        if self.number_format == "fp32":
            return scope.op("Add", self.product(scope, x), self.bias(scope))
        return scope.op("DynamicQuantizeMatMul", x, *self._codes(scope), self.bias(scope), domain=CONTRIB)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.num_inputs, self.num_outputs * len(self.names)

    def _matrix(self, get: Lookup) -> Array:
        shape = (self.num_outputs, self.num_inputs)
        return np.concatenate([get(f"{self.owner}.{name}.weight", shape) for name in self.names]).T

    def _weights(self, scope: Scope) -> str:
        return scope.parameters([TensorSpec(f"{self.name}.weight", self._shape)], lambda get: (self._matrix(get),))[0]

    def _codes(self, scope: Scope) -> tuple[str, str, str]:
        codes, scales = scope.parameters(
            [
                TensorSpec(f"{self.name}.codes", self._shape, np.uint8),
                TensorSpec(f"{self.name}.scales", self._shape[1:]),
            ],
            lambda get: quantize_columns(self._matrix(get)),
        )
        return codes, scales, scope.constant(ZERO_POINT, np.uint8)


# -- the shared table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SharedTable:
    """The one table of source, target and output, stored once, rows of a vocabulary entry contiguous.

    The logits read the first `decoder_dim` columns of it. When the encoder is wider, its further columns are a second
    initialiser, so that no product needs a copy of the table.
    """

    vocab_size: int
    encoder_dim: int
    decoder_dim: int
    number_format: NumberFormat

    def embed_source(self, scope: Scope, ids: str) -> str:
        """Ids to vectors (..., encoder_dim), scaled by sqrt(encoder_dim)."""
        head = self._embed(scope, ids, 0, self.decoder_dim, self.encoder_dim)
        if self.encoder_dim > self.decoder_dim:
            tail = self._embed(scope, ids, self.decoder_dim, self.encoder_dim, self.encoder_dim)
            return scope.op("Concat", head, tail, axis=-1)
        if self.encoder_dim < self.decoder_dim:
            first, last = scope.constant([0]), scope.constant([self.encoder_dim])
            return scope.op("Slice", head, first, last, scope.constant([-1]))
        return head

    def embed_target(self, scope: Scope, ids: str) -> str:
        """Ids to vectors (..., decoder_dim), scaled by sqrt(decoder_dim)."""
        return self._embed(scope, ids, 0, self.decoder_dim, self.decoder_dim)

    def prepare_logits(self, scope: Scope) -> str:
        """Name of the matrix that `logits` reads; call once outside the loop.

        In int8 the transposition is folded when the model is loaded, so that the file holds the table once.
        """
        if self.number_format == "fp32":
            return self._columns(scope, 0, self.decoder_dim)[0]
        return scope.op("Transpose", self._columns(scope, 0, self.decoder_dim)[0], perm=[1, 0])

    def logits(self, scope: Scope, x: str, matrix: str) -> str:
        """Rows (R, decoder_dim) to logits (R, vocab_size); `matrix` comes from `prepare_logits`."""
        if self.number_format == "fp32":
            return scope.op("Gemm", x, matrix, transB=1)
        scales = self._columns(scope, 0, self.decoder_dim)[1]
        zero_point = scope.constant(ZERO_POINT, np.uint8)
        return scope.op("DynamicQuantizeMatMul", x, matrix, scales, zero_point, domain=CONTRIB)

    def _embed(self, scope: Scope, ids: str, first: int, last: int, width: int) -> str:
        columns, root = self._columns(scope, first, last), scope.constant(np.sqrt(width), np.float32)
        rows = scope.op("Gather", columns[0], ids)
        if self.number_format == "fp32":
            return scope.op("Mul", rows, root)
        values = scope.op("DequantizeLinear", rows, root, scope.constant(ZERO_POINT, np.uint8))
        return scope.op("Mul", values, scope.op("Gather", columns[1], scope.op("Unsqueeze", ids, scope.constant([-1]))))

    def _columns(self, scope: Scope, first: int, last: int) -> list[str]:
        name, shape = f"embed.{first}-{last}", (self.vocab_size, last - first)
        table_shape = (self.vocab_size, max(self.encoder_dim, self.decoder_dim))
        if self.number_format == "fp32":
            return scope.parameters(
                [TensorSpec(f"{name}.weight", shape)], lambda get: (get("embed.weight", table_shape)[:, first:last],)
            )

        def quantize(get: Lookup) -> tuple[npt.NDArray[np.uint8], Array]:
            codes, scales = quantize_columns(get("embed.weight", table_shape)[:, first:last].T)
            return codes.T, scales

        specs = [TensorSpec(f"{name}.codes", shape, np.uint8), TensorSpec(f"{name}.scales", (self.vocab_size,))]
        return scope.parameters(specs, quantize)
