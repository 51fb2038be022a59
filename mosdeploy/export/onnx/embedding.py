"""The tied embedding as nodes: ids to vectors, and a decoder's last vectors to the tokens that may
follow, of the whole vocabulary or of what is allowed.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..quantize import (
    INT4_ZERO_POINT,
    LARGEST_INT4_CODE,
    TABLE_ZERO_POINT,
    TableFormat,
    block_size,
    num_blocks,
    quantize_table,
)
from .builder import CONTRIB, Array, GraphBuilder, Lookup, TensorSpec
from .linear import NBitBlocks, repeat_scales

NUM_RESCORED = 16
"""Tokens that four-bit logits choose where the best one is wanted."""

NUM_RESCORED_OF_BEAM = 64
"""And at least where log p is: the more, the less of the sum is left to four bits."""


@dataclass(frozen=True)
class TiedEmbedding:
    """One table of input embeddings and logits, stored once, rows of a vocabulary entry
    contiguous.
    """

    vocab_size: int
    num_columns: int
    logits_dim: int
    number_format: TableFormat
    int4_logits: bool = False
    scaled: bool = True

    def embed(self, builder: GraphBuilder, ids: str, width: int) -> str:
        """Ids to the first `width` columns of their rows, (..., width), times sqrt(width) if
        `scaled`.
        """
        head = self._embed(builder, ids, (0, self.logits_dim), width)
        if width > self.logits_dim:
            tail = self._embed(builder, ids, (self.logits_dim, width), width)
            return builder.op("Concat", head, tail, axis=-1)
        if width < self.logits_dim:
            first = builder.constant([0])
            last = builder.constant([width])
            return builder.op("Slice", head, first, last, builder.constant([-1]))
        return head

    def columns_of(self, builder: GraphBuilder, ids: str) -> str:
        """What the logits of some ids (N,) are computed with, as floats: (d, N)."""
        table = self._columns(builder, 0, self.logits_dim)
        columns = builder.op("Transpose", builder.op("Gather", table[0], ids), perm=[1, 0])
        if self.number_format == "fp32":
            return columns
        # three times as fast as DequantizeLinear with a scale a column
        codes = builder.op("Cast", columns, to=TensorProto.FLOAT)
        centred = builder.op("Sub", codes, builder.constant(TABLE_ZERO_POINT, np.float32))
        return builder.op("Mul", centred, builder.op("Gather", table[1], ids))

    # -- logits ------------------------------------------------------------------------------------

    def best(self, builder: GraphBuilder, x: str) -> str:
        """Rows (R, d) to the likeliest token of each, int64 (R, 1); of equal ones the lowest id, or
        with four bits the one that these rate higher.
        """
        if not self.int4_logits:
            return builder.op("ArgMax", self.logits(builder, x), axis=-1, keepdims=1)
        _, tokens = self._largest(builder, self._rough_logits(builder, x), NUM_RESCORED)
        first = builder.op("ArgMax", self._logits_of(builder, x, tokens), axis=-1, keepdims=1)
        return builder.op("GatherElements", tokens, first, axis=1)

    def likeliest(self, builder: GraphBuilder, x: str, count: int) -> tuple[str, str]:
        """Rows (R, d) to at least `count` tokens of each (or the whole vocabulary): log p float (R,
        C), ids (R, C).
        """
        if not self.int4_logits:
            log_p = builder.op("LogSoftmax", self.logits(builder, x), axis=-1)
            return self._largest(builder, log_p, count)
        rough_logits = self._rough_logits(builder, x)
        rough, tokens = self._largest(builder, rough_logits, max(count, NUM_RESCORED_OF_BEAM))
        rough_log_p = builder.op("LogSoftmax", rough_logits, axis=-1)
        rough_log_p = builder.op("GatherElements", rough_log_p, tokens, axis=1)
        # log p = logit - log(sum): first the exact logits over the rough sum ...
        error = builder.op("Sub", rough, self._logits_of(builder, x, tokens))
        shifted = builder.op("Sub", rough_log_p, error)
        # ... then the sum itself, in units of the rough one: 1, and what the chosen tokens change
        change = builder.op("Sub", builder.op("Exp", shifted), builder.op("Exp", rough_log_p))
        total = builder.op("ReduceSum", change, builder.constant([1]), keepdims=1)  # (R, 1)
        norm = builder.op("Log", builder.op("Add", total, builder.constant(1.0, np.float32)))
        return builder.op("Sub", shifted, norm), tokens

    def _largest(self, builder: GraphBuilder, values: str, count: int) -> tuple[str, str]:
        count_or_all = builder.constant([min(count, self.vocab_size)])
        largest, ids = builder.ops("TopK", values, count_or_all, outputs=2, axis=-1)
        return largest, ids

    def logits(self, builder: GraphBuilder, x: str) -> str:
        """All logits (R, V)."""
        table = self._columns(builder, 0, self.logits_dim)
        if self.number_format == "fp32":
            return builder.op("Gemm", x, *table, transB=1)
        codes, scales = table
        # transposed when the model is loaded, so that the file holds one table
        columns = builder.root.op("Transpose", codes, perm=[1, 0])
        centre = builder.constant(TABLE_ZERO_POINT, np.uint8)
        return builder.op("DynamicQuantizeMatMul", x, columns, scales, centre, domain=CONTRIB)

    def _logits_of(self, builder: GraphBuilder, x: str, tokens: str) -> str:
        """Logits (R, C) of some tokens of each row, from the table as it is stored."""
        table = self._columns(builder, 0, self.logits_dim)
        rows = self._codes_or_values(builder, table, tokens)  # (R, C, d)
        column = builder.op("Unsqueeze", x, builder.constant([2]))  # (R, d, 1)
        logits = builder.op("Squeeze", builder.op("MatMul", rows, column), builder.constant([2]))
        if self.number_format == "fp32":
            return logits
        return builder.op("Mul", logits, builder.op("Gather", table[1], tokens))

    # -- the table in four bits, made of constants alone and so when the model is loaded -----------

    def _rough_logits(self, builder: GraphBuilder, x: str) -> str:
        """All logits (R, V) from the table in four bits."""
        codes, scales = self._four_bits(builder.root)
        return NBitBlocks(self.logits_dim, self.vocab_size, 4, codes, scales).multiply(builder, x)

    def _four_bits(self, root: GraphBuilder) -> tuple[str, str]:
        """Codes (V, blocks, block size / 2) and scales (V, blocks) for MatMulNBits."""
        table = self._columns(root, 0, self.logits_dim)
        if self.number_format == "fp32":
            codes, scales = self._round_rows(root, *table)
        else:
            # the upper half of a byte is the code in four bits, a step of it 16 of the byte's
            codes = table[0]
            scales = root.op("Mul", table[1], root.constant(16.0, np.float32))
        size = block_size(self.logits_dim)
        blocks = num_blocks(self.logits_dim)
        codes = self._fill_up(root, codes, size * blocks)
        even = self._every_other(root, codes, 0, size * blocks)
        odd = self._every_other(root, codes, 1, size * blocks)
        four = root.constant(4, np.uint8)
        # two codes a byte, the even one in the lower half
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
        step = root.constant(1 / LARGEST_INT4_CODE, np.float32)
        scales = root.op("Mul", root.op("Max", high, low), step)
        # a row of zeros would be divided by zero
        tiny = root.constant(np.finfo(np.float32).tiny, np.float32)
        scales = root.op("Max", scales, tiny)
        zero_point = root.constant(INT4_ZERO_POINT, np.uint8)
        centre = root.op("Expand", zero_point, root.constant([self.vocab_size]))
        return root.op("QuantizeLinear", values, scales, centre, axis=0), scales

    def _fill_up(self, root: GraphBuilder, codes: str, num_columns: int) -> str:
        """Codes (V, d) to (V, num_columns), with what stands for zero."""
        missing = num_columns - self.logits_dim
        if not missing:
            return codes
        zero = INT4_ZERO_POINT if self.number_format == "fp32" else TABLE_ZERO_POINT
        pads = root.constant([0, 0, 0, missing])
        return root.op("Pad", codes, pads, root.constant(zero, np.uint8))

    @staticmethod
    def _every_other(root: GraphBuilder, codes: str, first: int, last: int) -> str:
        bounds = (root.constant([value]) for value in (first, last, 1, 2))
        return root.op("Slice", codes, *bounds)

    # -- the table itself --------------------------------------------------------------------------

    def _embed(self, builder: GraphBuilder, ids: str, columns: tuple[int, int], width: int) -> str:
        table = self._columns(builder, *columns)
        rows = self._codes_or_values(builder, table, ids)
        if self.scaled:
            root = builder.constant(np.sqrt(width), np.float32)
            rows = builder.op("Mul", rows, root)
        if self.number_format == "fp32":
            return rows
        column = builder.op("Unsqueeze", ids, builder.constant([-1]))
        return builder.op("Mul", rows, builder.op("Gather", table[1], column))

    def _codes_or_values(self, builder: GraphBuilder, table: list[str], ids: str) -> str:
        """Rows (..., columns) of some ids, in float: in int8 around zero, but not scaled."""
        rows = builder.op("Gather", table[0], ids)
        if self.number_format == "fp32":
            return rows
        one = builder.constant(1.0, np.float32)
        centre = builder.constant(TABLE_ZERO_POINT, np.uint8)
        return builder.op("DequantizeLinear", rows, one, centre)

    def _columns(self, builder: GraphBuilder, first: int, last: int) -> list[str]:
        """Values (V, last - first), or codes of that shape and scales (V,)."""
        name = f"embed.{first}-{last}"
        shape = (self.vocab_size, last - first)
        if self.number_format == "fp32":
            spec = TensorSpec(f"{name}.weight", shape)
            return builder.parameters([spec], lambda get: (self._table(get)[:, first:last],))
        specs = [
            TensorSpec(f"{name}.codes", shape, np.uint8),
            TensorSpec(f"{name}.scales", shape[:1]),
        ]
        return builder.parameters(
            specs, lambda get: quantize_table(self._table(get)[:, first:last])
        )

    def _table(self, get: Lookup) -> Array:
        return get("embed.weight", (self.vocab_size, self.num_columns))


@dataclass(frozen=True)
class RestrictedLogits:
    """Tensors, made outside the loop, that the logits of a step are computed from."""

    tokens: str
    table: str
    penalties: str
    vocab_size: int

    @classmethod
    def of(
        cls, builder: GraphBuilder, embedding: TiedEmbedding, allowed: str, num_rows: int
    ) -> "RestrictedLogits":
        """Copy what is allowed out of the table."""
        allowed = builder.op("Cast", allowed, to=TensorProto.INT64)
        batch = builder.op("Shape", allowed, start=0, end=1)  # (1,)
        shape = builder.op("Concat", batch, builder.constant([embedding.vocab_size]), axis=0)
        none = builder.op("Expand", builder.constant(0, np.uint8), shape)
        one = builder.constant([[1]], np.uint8)
        ones = builder.op("Expand", one, builder.op("Shape", allowed))
        mask = builder.op("ScatterElements", none, allowed, ones, axis=1)  # (B, V)
        in_any = builder.op("ReduceMax", mask, builder.constant([0]), keepdims=0)  # (V,)
        tokens = builder.op("Squeeze", builder.op("NonZero", in_any), builder.constant([0]))
        columns = embedding.columns_of(builder, tokens)
        is_own = builder.op("Gather", mask, tokens, axis=1)  # (B, N)
        is_own = builder.op("Cast", is_own, to=TensorProto.BOOL)
        never = builder.constant(-np.inf, np.float32)
        penalties = builder.op("Where", is_own, builder.constant(0.0, np.float32), never)
        if num_rows > 1:
            repeated = builder.op("Unsqueeze", penalties, builder.constant([1]))
            repeated = builder.op("Tile", repeated, builder.constant([1, num_rows, 1]))
            # a row of the loop is a hypothesis of an example
            size = builder.op("Shape", tokens)
            flat = builder.op("Concat", builder.constant([-1]), size, axis=0)
            penalties = builder.op("Reshape", repeated, flat)
        return cls(tokens, columns, penalties, embedding.vocab_size)

    def best(self, builder: GraphBuilder, x: str) -> str:
        """Rows (R, d) to the likeliest token of each, int64 (R, 1); the lowest id of equal ones."""
        place = builder.op("ArgMax", self._logits(builder, x), axis=-1, keepdims=1)
        return builder.op("Gather", self.tokens, place)

    def likeliest(self, builder: GraphBuilder, x: str, count: int) -> tuple[str, str]:
        """Rows (R, d) to `count` tokens of each: log p among what is allowed, float (R, C), and ids
        (R, C). At least so many must be allowed, or the whole vocabulary.
        """
        log_p = builder.op("LogSoftmax", self._logits(builder, x), axis=-1)
        count_or_all = builder.constant([min(count, self.vocab_size)])
        log_p, places = builder.ops("TopK", log_p, count_or_all, outputs=2, axis=-1)
        return log_p, builder.op("Gather", self.tokens, places)

    def _logits(self, builder: GraphBuilder, x: str) -> str:
        """Logits (R, N)."""
        return builder.op("Add", builder.op("MatMul", x, self.table), self.penalties)
