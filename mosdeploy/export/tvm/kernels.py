"""The few kernels that a Transformer needs on a CPU, as TE computations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from . import TILE_ROWS

Expr = Any
Tensor = Any


@dataclass(frozen=True)
class LinearShape:
    """Sizes of one linear layer."""

    tiles: int | None
    rows: int
    num_inputs: int
    num_outputs: int
    panel: int
    stored_inputs: int
    quantized: bool


def linear(
    shape: LinearShape, *, bias: bool = True, relu: bool = False, residual: bool = False
) -> tirx.PrimFunc:
    """Rows times packed weights; then scales (if quantised), bias, ReLU, and the residual, as asked
    for.
    """
    tiles = _tiles(shape.tiles, "tiles")
    x = te.placeholder((tiles, shape.rows, shape.num_inputs), "float32", "x")
    packed = (shape.num_outputs // shape.panel, shape.stored_inputs, shape.panel)
    weights = te.placeholder(packed, "int8" if shape.quantized else "float32", "weights")
    inputs = [x, weights]
    inputs += [te.placeholder((shape.num_outputs,), "float32", "scales")] if shape.quantized else []
    inputs += [te.placeholder((shape.num_outputs,), "float32", "bias")] if bias else []
    result_shape = (tiles, shape.rows, shape.num_outputs)
    inputs += [te.placeholder(result_shape, "float32", "residual")] if residual else []
    # perhaps fewer than stored: a stack may be narrower than the table that it shares
    k = te.reduce_axis((0, shape.num_inputs), "k")

    def multiply(i: Expr, j: Expr, n: Expr) -> Expr:
        weight = weights[n // shape.panel, k, n % shape.panel]
        # codes are multiplied as they are; an output's scale is applied once, to the sum
        return te.sum(x[i, j, k] * weight.astype("float32"), axis=k)

    # a computation of its own, which the schedule keeps in registers until the sums are complete
    product = te.compute(result_shape, multiply, "product")

    def finish(i: Expr, j: Expr, n: Expr) -> Expr:
        extra = iter(inputs[2:])  # those that were asked for, in order
        y = product[i, j, n]
        y = y * next(extra)[n] if shape.quantized else y
        y = y + next(extra)[n] if bias else y
        y = te.max(y, tirx.const(0.0, "float32")) if relu else y
        return y + next(extra)[i, j, n] if residual else y

    result = te.compute(result_shape, finish, "result")
    # the attributes are for the schedule
    attributes = {"panel": shape.panel, "rows": shape.rows}
    return te.create_prim_func([*inputs, result]).with_attrs(attributes)


def layer_norm(tiles: int | None, rows: int, dim: int, epsilon: float) -> tirx.PrimFunc:
    """Layer norm of each row. Parameters: x (M, R, D), weight (D,), bias (D,), result."""
    x = te.placeholder((_tiles(tiles, "tiles"), rows, dim), "float32", "x")
    weight = te.placeholder((dim,), "float32", "weight")
    bias = te.placeholder((dim,), "float32", "bias")
    k = te.reduce_axis((0, dim), "k")
    mean = te.compute(x.shape[:2], lambda i, j: te.sum(x[i, j, k] / dim, axis=k), "mean")
    k = te.reduce_axis((0, dim), "k")
    # from the mean, in a second pass: mean(x^2) - mean^2 would cancel in float32
    variance = te.compute(
        x.shape[:2],
        lambda i, j: te.sum((x[i, j, k] - mean[i, j]) * (x[i, j, k] - mean[i, j]) / dim, axis=k),
        "variance",
    )
    scale = te.compute(x.shape[:2], lambda i, j: te.rsqrt(variance[i, j] + epsilon), "scale")
    result = te.compute(
        x.shape,
        lambda i, j, n: (x[i, j, n] - mean[i, j]) * scale[i, j] * weight[n] + bias[n],
        "result",
    )
    return te.create_prim_func([x, weight, bias, result])


def embed(
    tiles: int | None,
    rows: int,
    dim: int,
    table: LinearShape,
    num_positions: int,
    *,
    same_position: bool,
) -> tirx.PrimFunc:
    """Rows of the packed table, scaled by sqrt(dim), plus the sinusoids of their positions."""
    ids = te.placeholder((_tiles(tiles, "tiles"), rows), "int32", "ids")
    position = te.placeholder((1,), "int32", "position")
    packed = (table.num_outputs // table.panel, table.stored_inputs, table.panel)
    weights = te.placeholder(packed, "int8" if table.quantized else "float32", "table")
    scales = [te.placeholder((table.num_outputs,), "float32", "scales")] if table.quantized else []
    sinusoids = te.placeholder((num_positions, table.stored_inputs), "float32", "sinusoids")

    def look_up(i: Expr, j: Expr, n: Expr) -> Expr:
        row = ids[i, j]
        value = weights[row // table.panel, n, row % table.panel].astype("float32")
        value = value * scales[0][row] if scales else value
        # the rows of a decode step are hypotheses of the same position
        place = position[0] if same_position else position[0] + i * rows + j
        return value * tirx.const(dim**0.5, "float32") + sinusoids[place, n]

    result = te.compute((*ids.shape, dim), look_up, "result")
    return te.create_prim_func([ids, position, weights, *scales, sinusoids, result])


def encoder_attention(tiles: int | None, width: int, heads: int) -> tirx.PrimFunc:
    """Self-attention of a source."""
    qkv = te.placeholder((_tiles(tiles, "tiles"), TILE_ROWS, 3 * width), "float32", "qkv")
    length = te.placeholder((1,), "int32", "length")
    memory = _Memory(
        num_positions=qkv.shape[0] * TILE_ROWS,
        # side by side: queries from column 0, keys from Q, values from 2Q
        key=lambda i, j, t, n: qkv[t // TILE_ROWS, t % TILE_ROWS, width + n],
        value=lambda i, j, t, n: qkv[t // TILE_ROWS, t % TILE_ROWS, 2 * width + n],
        is_real=lambda t: t < length[0],
    )
    result = _attend(qkv, (*qkv.shape[:2], width), heads, memory)
    return te.create_prim_func([qkv, length, result]).with_attr("heads", heads)


def cross_attention(rows: int, width: int, heads: int, span: int) -> tirx.PrimFunc:
    """Attention of a step to the source."""
    queries = te.placeholder((1, rows, width), "float32", "queries")
    memory_tiles = te.var("memory_tiles", "int64")
    keys_values = te.placeholder((memory_tiles, TILE_ROWS, 2 * width), "float32", "keys_values")
    length = te.placeholder((1,), "int32", "length")
    # outputs of `span` encoder layers one after the other, each padded alike
    one_length = memory_tiles // span * TILE_ROWS
    memory = _Memory(
        num_positions=memory_tiles * TILE_ROWS,
        key=lambda i, j, t, n: keys_values[t // TILE_ROWS, t % TILE_ROWS, n],
        value=lambda i, j, t, n: keys_values[t // TILE_ROWS, t % TILE_ROWS, width + n],
        is_real=lambda t: (t % one_length if span > 1 else t) < length[0],
    )
    result = _attend(queries, (1, rows, width), heads, memory)
    return te.create_prim_func([queries, keys_values, length, result]).with_attr("heads", heads)


def step_attention(rows: int, width: int, heads: int) -> tirx.PrimFunc:
    """Self-attention of a step."""
    qkv = te.placeholder((1, rows, 3 * width), "float32", "qkv")
    steps = te.var("steps", "int64")
    keys = te.placeholder((rows, steps, width), "float32", "keys")
    values = te.placeholder((rows, steps, width), "float32", "values")
    memory = _Memory(
        num_positions=steps,
        key=lambda i, j, t, n: keys[j, t, n],
        value=lambda i, j, t, n: values[j, t, n],
        is_real=None,
    )
    result = _attend(qkv, (1, rows, width), heads, memory)
    return te.create_prim_func([qkv, keys, values, result]).with_attr("heads", heads)


def append(rows: int, width: int, offset: int) -> tirx.PrimFunc:
    """Keys or values of one more step: each hypothesis continues the one that `parent` names."""
    steps = te.var("steps", "int64")
    past = te.placeholder((rows, steps, width), "float32", "past")
    parent = te.placeholder((rows,), "int32", "parent")
    qkv = te.placeholder((1, rows, 3 * width), "float32", "qkv")
    result = te.compute(
        (rows, steps + 1, width),
        # the search reorders hypotheses by `parent` in the pass that copies the past
        lambda j, t, n: tirx.if_then_else(t < steps, past[parent[j], t, n], qkv[0, j, offset + n]),
        "result",
    )
    return te.create_prim_func([past, parent, qkv, result])


# -- attention -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Memory:
    """What is attended to: how many positions, the key and value of one, and which are real (None:
    all).
    """

    num_positions: Expr
    key: Callable[[Expr, Expr, Expr, Expr], Expr]
    value: Callable[[Expr, Expr, Expr, Expr], Expr]
    is_real: Callable[[Expr], Expr] | None


def _attend(queries: Tensor, shape: tuple[Expr, ...], heads: int, memory: _Memory) -> Tensor:
    """Mixed values (M, R, Q) of queries that are the first Q columns of a tensor."""
    tiles, rows, width = shape
    head_dim = width // heads
    head_shape = (tiles, rows, heads)
    scale = tirx.const(head_dim**-0.5, "float32")
    # finite, as MASKED of the ONNX graphs: infinities could give NaN in the softmax
    lowest = tirx.const(-1e9, "float32")
    c = te.reduce_axis((0, head_dim), "c")
    dots = te.compute(
        (*head_shape, memory.num_positions),
        lambda i, j, h, t: te.sum(
            queries[i, j, h * head_dim + c] * memory.key(i, j, t, h * head_dim + c), axis=c
        ),
        "dots",
    )

    def mask(i: Expr, j: Expr, h: Expr, t: Expr) -> Expr:
        score = dots[i, j, h, t] * scale
        return (
            score if memory.is_real is None else tirx.if_then_else(memory.is_real(t), score, lowest)
        )

    scores = te.compute(dots.shape, mask, "scores")
    t = te.reduce_axis((0, memory.num_positions), "t")
    # softmax: the highest score is taken off so that exp cannot overflow
    highest = te.compute(head_shape, lambda i, j, h: te.max(scores[i, j, h, t], axis=t), "highest")
    powers = te.compute(
        dots.shape, lambda i, j, h, t: te.exp(scores[i, j, h, t] - highest[i, j, h]), "powers"
    )
    t = te.reduce_axis((0, memory.num_positions), "t")
    total = te.compute(head_shape, lambda i, j, h: te.sum(powers[i, j, h, t], axis=t), "total")
    # values are mixed with unnormed weights, and one division a number follows
    t = te.reduce_axis((0, memory.num_positions), "t")
    mixed = te.compute(
        shape,
        lambda i, j, n: te.sum(powers[i, j, n // head_dim, t] * memory.value(i, j, t, n), axis=t),
        "mixed",
    )
    return te.compute(shape, lambda i, j, n: mixed[i, j, n] / total[i, j, n // head_dim], "result")


def _tiles(tiles: int | None, name: str) -> Expr:
    return te.var(name, "int64") if tiles is None else tiles
