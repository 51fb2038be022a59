"""Attention on a padded batch by ONNX's own operators, without branches and loops: for execution
providers that take these apart, as those of GPUs and OpenVINO do.
"""

import numpy as np

from .blocks import MASKED, ResidualStream, project_out
from .builder import GraphBuilder
from .linear import LinearLayer


def padding_bias(builder: GraphBuilder, is_real: str) -> str:
    """What is added to the scores of each position, float (B, 1, 1, S), where real tokens are given
    as bool (B, S).
    """
    zero, masked = (builder.constant(value, np.float32) for value in (0, MASKED))
    bias = builder.op("Where", is_real, zero, masked)
    return builder.op("Unsqueeze", bias, builder.constant([1, 2]))


def padded_self_attention(stream: ResidualStream, owner: str, heads: int, bias: str) -> None:
    """Let all positions of the stream (B, S, D) attend to the real ones of their text."""
    spec = stream.spec
    qkv = LinearLayer(owner, ("q", "k", "v"), spec.dim, spec.qkv_dim, spec.number_format)
    row = qkv.apply(stream.builder, stream.reads)  # (B, S, 3q)
    query, key, value = stream.builder.ops("Split", row, outputs=3, axis=-1, num_outputs=3)
    mixed = _mixed(stream.builder, (query, key, value), heads, spec.qkv_dim, bias)
    project_out(stream, owner, mixed)


def padded_first_attention(stream: ResidualStream, owner: str, heads: int, bias: str) -> None:
    """Let the first position of each text alone attend to the real ones, and shorten the stream to
    it, (1, B, D): for a last layer of which nothing else is read.
    """
    builder = stream.builder
    spec = stream.spec
    attended = LinearLayer(owner, ("k", "v"), spec.dim, spec.qkv_dim, spec.number_format)
    halves = attended.apply(builder, stream.reads)  # (B, S, 2q)
    key, value = builder.ops("Split", halves, outputs=2, axis=-1, num_outputs=2)
    stream.reads, stream.total = (_firsts(builder, x) for x in (stream.reads, stream.total))
    query = LinearLayer(owner, ("q",), spec.dim, spec.qkv_dim, spec.number_format)
    queries = _as_rows(builder, query.apply(builder, stream.reads), (-1, 1, spec.qkv_dim))
    mixed = _mixed(builder, (queries, key, value), heads, spec.qkv_dim, bias)  # (B, 1, q)
    project_out(stream, owner, _as_rows(builder, mixed, (1, -1, spec.qkv_dim)))


def _mixed(
    builder: GraphBuilder, qkv: tuple[str, str, str], heads: int, width: int, bias: str
) -> str:
    """Values (B, S, q) mixed by the scores of queries (B, N, q) and keys (B, S, q): (B, N, q)."""
    query, key, value = (_as_rows(builder, x, (0, -1, heads, width // heads)) for x in qkv)
    query = builder.op("Transpose", query, perm=[0, 2, 1, 3])  # (B, heads, N, h)
    key = builder.op("Transpose", key, perm=[0, 2, 3, 1])  # (B, heads, h, S)
    value = builder.op("Transpose", value, perm=[0, 2, 1, 3])
    scale = builder.constant((width // heads) ** -0.5, np.float32)
    scores = builder.op("Mul", builder.op("MatMul", query, key), scale)
    shares = builder.op("Softmax", builder.op("Add", scores, bias), axis=-1)
    mixed = builder.op("Transpose", builder.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    return _as_rows(builder, mixed, (0, -1, width))


def _firsts(builder: GraphBuilder, x: str) -> str:
    """The first position of each text (B, S, D) side by side, (1, B, D)."""
    first = builder.op("Gather", x, builder.constant(0), axis=1)
    return builder.op("Unsqueeze", first, builder.constant([0]))


def _as_rows(builder: GraphBuilder, x: str, shape: tuple[int, ...]) -> str:
    return builder.op("Reshape", x, builder.constant(list(shape)))
