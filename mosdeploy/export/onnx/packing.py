"""Texts of different lengths in one row, without padding: what is computed for a token alone runs
on all tokens together, and attention on one text after another.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .blocks import ResidualStream, project_out
from .builder import CONTRIB, GraphBuilder
from .linear import LinearLayer


@dataclass(frozen=True)
class Segments:
    """The parts of a row that are a text each, in order."""

    starts: str
    ends: str
    count: str

    def of(self, body: GraphBuilder, number: str, row: str) -> str:
        """One text (1, n, ...) of a row (1, T, ...)."""
        ends = (_pick(body, x, number, axis=0) for x in (self.starts, self.ends))
        return body.op("Slice", row, *ends, body.constant([1]))

    def firsts(self, builder: GraphBuilder, row: str) -> str:
        """The first token of each text, (1, B, ...), of a row (1, T, ...)."""
        return builder.op("Gather", row, self.starts, axis=1)


def packed_self_attention(
    stream: ResidualStream, owner: str, heads: int, segments: Segments
) -> None:
    """Let all tokens of the stream (1, T, D) attend to those of their text."""
    spec = stream.spec
    qkv = LinearLayer(owner, ("q", "k", "v"), spec.dim, spec.qkv_dim, spec.number_format)
    row = qkv.apply(stream.builder, stream.reads)  # (1, T, 3q)

    def attend(body: GraphBuilder, text: str, number: str | None) -> str:
        parts = body.ops("Split", text, outputs=3, axis=-1, num_outputs=3)
        return body.op("MultiHeadAttention", *parts, domain=CONTRIB, num_heads=heads)

    project_out(stream, owner, _text_by_text(stream, owner, segments, row, attend))


def packed_first_attention(
    stream: ResidualStream, owner: str, heads: int, segments: Segments
) -> None:
    """Let the first token of each text alone attend to those of its text, and shorten the stream to
    these tokens, (1, B, D): for a last layer of which nothing else is read.
    """
    builder = stream.builder
    spec = stream.spec
    attended = LinearLayer(owner, ("k", "v"), spec.dim, spec.qkv_dim, spec.number_format)
    row = attended.apply(builder, stream.reads)  # (1, T, 2q)
    stream.reads, stream.total = (segments.firsts(builder, x) for x in (stream.reads, stream.total))
    query = LinearLayer(owner, ("q",), spec.dim, spec.qkv_dim, spec.number_format)
    queries = query.apply(builder, stream.reads)  # (1, B, q)

    def attend(body: GraphBuilder, text: str, number: str | None) -> str:
        halves = body.ops("Split", text, outputs=2, axis=-1, num_outputs=2)
        own = queries if number is None else _pick(body, queries, number, axis=1)
        return body.op("MultiHeadAttention", own, *halves, domain=CONTRIB, num_heads=heads)

    project_out(stream, owner, _text_by_text(stream, owner, segments, row, attend))


def _text_by_text(
    stream: ResidualStream,
    owner: str,
    segments: Segments,
    row: str,
    attend: Callable[[GraphBuilder, str, str | None], str],
) -> str:
    """What attention gives for each text of a row (1, T, ...), side by side again, (1, T, q)."""
    builder = stream.builder
    width = stream.spec.qkv_dim

    def loop(body: GraphBuilder) -> str:
        found = body.for_each(
            owner,
            segments.count,
            (1, None, width),
            lambda text, number: attend(text, segments.of(text, number, row), number),
        )
        return body.op("ConcatFromSequence", found, axis=1)

    is_alone = builder.op("Equal", segments.count, builder.constant(1))
    mixed = builder.branch(owner, is_alone, lambda body: attend(body, row, None), loop)
    # moves nothing: without a known rank, ONNX Runtime fuses no bias with what follows
    return builder.op("Reshape", mixed, builder.constant([1, -1, width]))


def _pick(body: GraphBuilder, x: str, number: str, axis: int) -> str:
    """One entry along an axis, which stays."""
    row = body.op("Unsqueeze", number, body.constant([0]))
    return body.op("Gather", x, row, axis=axis)
