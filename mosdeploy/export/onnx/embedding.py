"""The shared table as nodes: ids to vectors, and the decoder's last vectors to the tokens that may
follow.

In: a scope, ids or vectors. Out: vectors, the best token, or the likeliest tokens with log p. This
file knows no attention and no loop.

Four-bit logits: a product with the table rounded to four bits chooses some tokens, and only those
are scored with the table itself, by vectors that are not quantised. The four bits are made from the
table when the model is loaded; the file does not hold them. Log p needs a sum over the whole
vocabulary: it has the exact terms of the chosen tokens, and those of four bits of all others.

Shapes: R rows, C chosen tokens, d decoder width, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from ..quantize import (
    INT4_ZERO_POINT,
    LARGEST_INT4_CODE,
    TABLE_ZERO_POINT,
    TableFormat,
    block_size,
    num_blocks,
    quantize_table,
)
from .builder import CONTRIB, GraphBuilder
from .initializers import TensorSpec
from .linear import multiply_rows, repeat_scales

NUM_RESCORED = 16
"""Tokens that four-bit logits choose where the best one is wanted."""

NUM_RESCORED_OF_BEAM = 64
"""And at least where log p is: the more, the less of the sum is left to four bits."""


@dataclass(frozen=True)
class TiedEmbedding:
    """The one table of source, target and output, stored once, rows of a vocabulary entry
    contiguous.

    The logits read the first `decoder_dim` columns of it. When the encoder is wider, its further
    columns are a second initialiser, so that no product needs a copy of the table.
    """

    vocab_size: int
    encoder_dim: int
    decoder_dim: int
    number_format: TableFormat
    int4_logits: bool = False

    def embed_source(self, scope: GraphBuilder, ids: str) -> str:
        """Ids to vectors (..., encoder_dim), scaled by sqrt(encoder_dim)."""
        head = self._embed(scope, ids, 0, self.decoder_dim, self.encoder_dim)
        if self.encoder_dim > self.decoder_dim:
            tail = self._embed(scope, ids, self.decoder_dim, self.encoder_dim, self.encoder_dim)
            return scope.op("Concat", head, tail, axis=-1)
        if self.encoder_dim < self.decoder_dim:
            first, last = scope.constant([0]), scope.constant([self.encoder_dim])
            return scope.op("Slice", head, first, last, scope.constant([-1]))
        return head

    def embed_target(self, scope: GraphBuilder, ids: str) -> str:
        """Ids to vectors (..., decoder_dim), scaled by sqrt(decoder_dim)."""
        return self._embed(scope, ids, 0, self.decoder_dim, self.decoder_dim)

    # -- logits ------------------------------------------------------------------------------------
    # ----------------

    def best(self, scope: GraphBuilder, x: str) -> str:
        """Rows (R, d) to the likeliest token of each, int64 (R, 1); of equal ones, the lowest id."""
        if not self.int4_logits:
            return scope.op("ArgMax", self._logits(scope, x), axis=-1, keepdims=1)
        _, tokens = self._largest(scope, self._rough_logits(scope, x), NUM_RESCORED)
        first = scope.op("ArgMax", self._logits_of(scope, x, tokens), axis=-1, keepdims=1)
        return scope.op("GatherElements", tokens, first, axis=1)

    def likeliest(self, scope: GraphBuilder, x: str, count: int) -> tuple[str, str]:
        """Rows (R, d) to at least `count` tokens of each (or the whole vocabulary): log p float (R,
        C), ids (R, C).
        """
        if not self.int4_logits:
            return self._largest(
                scope, scope.op("LogSoftmax", self._logits(scope, x), axis=-1), count
            )
        rough_logits = self._rough_logits(scope, x)
        rough, tokens = self._largest(scope, rough_logits, max(count, NUM_RESCORED_OF_BEAM))
        rough_log_p = scope.op(
            "GatherElements", scope.op("LogSoftmax", rough_logits, axis=-1), tokens, axis=1
        )
        error = scope.op("Sub", rough, self._logits_of(scope, x, tokens))
        shifted = scope.op("Sub", rough_log_p, error)
        change = scope.op("Sub", scope.op("Exp", shifted), scope.op("Exp", rough_log_p))
        total = scope.op("ReduceSum", change, scope.constant([1]), keepdims=1)  # (R, 1), beside 1
        norm = scope.op("Log", scope.op("Add", total, scope.constant(1.0, np.float32)))
        return scope.op("Sub", shifted, norm), tokens

    def _largest(self, scope: GraphBuilder, values: str, count: int) -> tuple[str, str]:
        largest, ids = scope.ops(
            "TopK", values, scope.constant([min(count, self.vocab_size)]), outputs=2, axis=-1
        )
        return largest, ids

    def _logits(self, scope: GraphBuilder, x: str) -> str:
        """All logits (R, V). In int8 the transposition is done when the model is loaded: the file
        holds one table.
        """
        table = self._columns(scope, 0, self.decoder_dim)
        if self.number_format == "fp32":
            return scope.op("Gemm", x, *table, transB=1)
        codes, scales = scope.root.op("Transpose", table[0], perm=[1, 0]), table[1]
        return scope.op(
            "DynamicQuantizeMatMul",
            x,
            codes,
            scales,
            scope.constant(TABLE_ZERO_POINT, np.uint8),
            domain=CONTRIB,
        )

    def _logits_of(self, scope: GraphBuilder, x: str, tokens: str) -> str:
        """Logits (R, C) of some tokens of each row, from the table as it is stored."""
        table = self._columns(scope, 0, self.decoder_dim)
        rows = self._codes_or_values(scope, table, tokens)  # (R, C, d)
        column = scope.op("Unsqueeze", x, scope.constant([2]))  # (R, d, 1)
        logits = scope.op("Squeeze", scope.op("MatMul", rows, column), scope.constant([2]))
        if self.number_format == "fp32":
            return logits
        return scope.op("Mul", logits, scope.op("Gather", table[1], tokens))

    def _rough_logits(self, scope: GraphBuilder, x: str) -> str:
        """All logits (R, V) from the table in four bits."""
        shape = self.decoder_dim, self.vocab_size
        return multiply_rows(scope, x, *self._four_bits(scope.root), "", shape, bits=4)

    def _four_bits(self, root: GraphBuilder) -> tuple[str, str]:
        """Codes and scales for MatMulNBits, of constants alone: computed when the model is loaded."""
        table, dim = self._columns(root, 0, self.decoder_dim), self.decoder_dim
        if self.number_format == "fp32":
            codes, scales = self._round_rows(root, *table)
        else:
            codes, scales = table[0], root.op("Mul", table[1], root.constant(16.0, np.float32))
        size, blocks = block_size(dim), num_blocks(dim)
        if size * blocks > dim:
            fill = INT4_ZERO_POINT if self.number_format == "fp32" else TABLE_ZERO_POINT
            codes = root.op(
                "Pad",
                codes,
                root.constant([0, 0, 0, size * blocks - dim]),
                root.constant(fill, np.uint8),
            )
        even, odd = (self._every_other(root, codes, first, size * blocks) for first in (0, 1))
        four = root.constant(4, np.uint8)
        if self.number_format == "fp32":
            odd = root.op("BitShift", odd, four, direction="LEFT")
        else:
            even = root.op("BitShift", even, four, direction="RIGHT")
            odd = root.op("BitwiseAnd", odd, root.constant(0xF0, np.uint8))
        packed = root.op("BitwiseOr", even, odd)
        shape = root.constant([self.vocab_size, blocks, size // 2])
        return root.op("Reshape", packed, shape), repeat_scales(root, scales, blocks)

    def _round_rows(self, root: GraphBuilder, values: str) -> tuple[str, str]:
        """The float table (V, d) in codes 1..15 around 8, and a scale a row."""
        axis = root.constant([1])
        high = root.op("ReduceMax", values, axis, keepdims=0)
        low = root.op("Neg", root.op("ReduceMin", values, axis, keepdims=0))
        scales = root.op(
            "Mul", root.op("Max", high, low), root.constant(1 / LARGEST_INT4_CODE, np.float32)
        )
        scales = root.op(
            "Max", scales, root.constant(np.finfo(np.float32).tiny, np.float32)
        )  # a row of zeros
        centre = root.op(
            "Expand", root.constant(INT4_ZERO_POINT, np.uint8), root.constant([self.vocab_size])
        )
        return root.op("QuantizeLinear", values, scales, centre, axis=0), scales

    @staticmethod
    def _every_other(root: GraphBuilder, codes: str, first: int, last: int) -> str:
        bounds = (root.constant([value]) for value in (first, last, 1, 2))
        return root.op("Slice", codes, *bounds)

    # -- the table itself
    # --------------------------------------------------------------------------------------------

    def _embed(self, scope: GraphBuilder, ids: str, first: int, last: int, width: int) -> str:
        columns, root = (
            self._columns(scope, first, last),
            scope.constant(np.sqrt(width), np.float32),
        )
        rows = scope.op("Mul", self._codes_or_values(scope, columns, ids), root)
        if self.number_format == "fp32":
            return rows
        return scope.op(
            "Mul",
            rows,
            scope.op("Gather", columns[1], scope.op("Unsqueeze", ids, scope.constant([-1]))),
        )

    def _codes_or_values(self, scope: GraphBuilder, columns: list[str], ids: str) -> str:
        """Rows (..., columns) of some ids, in float: in int8 around zero, but not scaled."""
        rows = scope.op("Gather", columns[0], ids)
        if self.number_format == "fp32":
            return rows
        one, centre = scope.constant(1.0, np.float32), scope.constant(TABLE_ZERO_POINT, np.uint8)
        return scope.op("DequantizeLinear", rows, one, centre)

    def _columns(self, scope: GraphBuilder, first: int, last: int) -> list[str]:
        name, shape = f"embed.{first}-{last}", (self.vocab_size, last - first)
        table_shape = (self.vocab_size, max(self.encoder_dim, self.decoder_dim))
        if self.number_format == "fp32":
            return scope.parameters(
                [TensorSpec(f"{name}.weight", shape)],
                lambda get: (get("embed.weight", table_shape)[:, first:last],),
            )
        specs = [
            TensorSpec(f"{name}.codes", shape, np.uint8),
            TensorSpec(f"{name}.scales", (self.vocab_size,)),
        ]
        return scope.parameters(
            specs, lambda get: quantize_table(get("embed.weight", table_shape)[:, first:last])
        )
