"""The texts of a padded batch: their real tokens in one row, those of one text in a loop body, or
the batch as it is.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from ...export.onnx.blocks import ResidualStream, first_self_attention, quantized_self_attention
from ...export.onnx.builder import GraphBuilder
from ...export.onnx.packing import Segments, packed_first_attention, packed_self_attention
from ...export.onnx.padded import padded_first_attention, padded_self_attention, padding_bias


def real_tokens(builder: GraphBuilder, mask: str) -> str:
    """Where real tokens are, bool (B, S), by the attention mask; everywhere in a text without one,
    so that none is empty.
    """
    most = builder.op("ReduceMax", mask, builder.constant([1]), keepdims=1)  # (B, 1)
    is_empty = builder.op("Equal", most, builder.constant(0))
    return builder.op("Or", builder.op("Greater", mask, builder.constant(0)), is_empty)


def num_texts(builder: GraphBuilder, ids: str) -> str:
    """B, int64 scalar."""
    return builder.op("Squeeze", builder.op("Shape", ids, start=0, end=1))


class OneText:
    """The tokens of the text `number` of a batch."""

    def __init__(self, builder: GraphBuilder, number: str, is_real: str) -> None:
        self.builder = builder
        self._number = number
        self._is_real = is_real

    @cached_property
    def columns(self) -> str:
        """Position of each token in its text, int64 (1, T)."""
        return self.builder.op("NonZero", self._own)

    @cached_property
    def _own(self) -> str:
        return self.builder.op("Gather", self._is_real, self._number)  # (S,)

    def pick(self, ids: str) -> str:
        """Ids (1, T) of the tokens, from those of the batch (B, S)."""
        return self.builder.op("Gather", self.builder.op("Gather", ids, self._number), self.columns)

    def attend(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """Let the tokens of the stream (1, T, d) attend to all."""
        quantized_self_attention(stream, owner, heads)

    def attend_first(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """The same for the first token alone, to which the stream is shortened."""
        first_self_attention(stream, owner, heads)

    def total(self, x: str) -> str:
        """Sum of the tokens (1, T, d), which has the direction of their mean: (1, d)."""
        return self.builder.op("ReduceSum", x, self.builder.constant([1]), keepdims=0)

    def padded(self, x: str) -> str:
        """Tokens (1, T, d) where they stand in the batch, (1, S, d); in between is a real one."""
        return self.builder.op("Gather", x, _token_of_position(self.builder, self._own), axis=1)


class _BatchOfTexts(ABC):
    """All texts of a batch."""

    def __init__(self, builder: GraphBuilder, ids: str, is_real: str) -> None:
        self.builder = builder
        self._ids = ids
        self._is_real = is_real

    @abstractmethod
    def padded(self, x: str) -> str:
        """Hidden states where they stand in the batch, (B, S, d)."""

    def total(self, x: str) -> str:
        """Sum of the tokens of each text, which has the direction of their mean, (B, d)."""
        weights = _as_numbers(self.builder, self._is_real, np.float32)
        axis = self.builder.constant([1])
        row = self.builder.op("Unsqueeze", weights, axis)  # (B, 1, S)
        return self.builder.op("Squeeze", self.builder.op("MatMul", row, self.padded(x)), axis)


class PackedTexts(_BatchOfTexts):
    """The tokens of all texts of a batch, one text behind another."""

    def __init__(self, builder: GraphBuilder, ids: str, is_real: str) -> None:
        super().__init__(builder, ids, is_real)
        self._flat = self._in_a_row(is_real)
        self._positions = builder.op("NonZero", self._flat)  # (1, T)
        ones = _as_numbers(builder, is_real, np.int64)
        lengths = builder.op("ReduceSum", ones, builder.constant([1]), keepdims=0)  # (B,)
        ends = builder.op("CumSum", lengths, builder.constant(0))
        starts = builder.op("Sub", ends, lengths)
        self._segments = Segments(starts, ends, num_texts(builder, ids))

    @cached_property
    def columns(self) -> str:
        """Position of each token in its text, int64 (1, T)."""
        width = self.builder.op("Shape", self._ids, start=1, end=2)
        return self.builder.op("Mod", self._positions, width)

    def pick(self, ids: str) -> str:
        """Ids (1, T) of the tokens, from those of the batch (B, S)."""
        return self.builder.op("Gather", self._in_a_row(ids), self._positions)

    def attend(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """Let the tokens of the stream (1, T, d) attend to all of their text."""
        packed_self_attention(stream, owner, heads, self._segments)

    def attend_first(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """The same for the first token of each text, to which the stream is shortened."""
        packed_first_attention(stream, owner, heads, self._segments)

    def padded(self, x: str) -> str:
        """Tokens (1, T, d) where they stand in the batch, (B, S, d); in between is a real one."""
        tokens = _token_of_position(self.builder, self._flat)  # (B * S,)
        table = self.builder.op("Squeeze", x, self.builder.constant([0]))
        places = self.builder.op("Reshape", tokens, self.builder.op("Shape", self._ids))
        return self.builder.op("Gather", table, places)

    def _in_a_row(self, x: str) -> str:
        return self.builder.op("Reshape", x, self.builder.constant([-1]))


class PaddedTexts(_BatchOfTexts):
    """All positions of a batch, padding too."""

    @cached_property
    def _bias(self) -> str:
        return padding_bias(self.builder, self._is_real)

    @cached_property
    def columns(self) -> str:
        """Position of each column, int64 (1, S)."""
        builder = self.builder
        width = builder.op("Squeeze", builder.op("Shape", self._ids, start=1, end=2))
        row = builder.op("Range", builder.constant(0), width, builder.constant(1))
        return builder.op("Unsqueeze", row, builder.constant([0]))

    def pick(self, ids: str) -> str:
        """Ids (B, S) as they are."""
        return ids

    def attend(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """Let all positions of the stream (B, S, d) attend to the tokens of their text."""
        padded_self_attention(stream, owner, heads, self._bias)

    def attend_first(self, stream: ResidualStream, owner: str, heads: int) -> None:
        """The same for the first token of each text alone; the stream is shortened, (1, B, d)."""
        padded_first_attention(stream, owner, heads, self._bias)

    def padded(self, x: str) -> str:
        """States (B, S, d) as they are."""
        return x


Texts = OneText | PackedTexts | PaddedTexts


def _token_of_position(builder: GraphBuilder, is_real: str) -> str:
    """For each position (N,) the number of its token among the real ones, or of one before it."""
    zero = builder.constant(0)
    count = builder.op("CumSum", _as_numbers(builder, is_real, np.int64), zero)
    return builder.op("Max", builder.op("Sub", count, builder.constant(1)), zero)


def _as_numbers(builder: GraphBuilder, is_real: str, dtype: type[np.generic]) -> str:
    """1 where a token is real, else 0."""
    return builder.op("Where", is_real, builder.constant(1, dtype), builder.constant(0, dtype))
