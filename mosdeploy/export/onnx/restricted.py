"""Logits of some tokens alone: what may follow is chosen once a run, and only that is scored."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from .builder import GraphBuilder
from .embedding import TiedEmbedding


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
