"""The decode loop: from an encoded source to token ids, greedy or by beam search, inside the graph.

In: what `network.prepare_decoder` made, and the two step limits. Out: `output_ids`. The semantics
are those of `training.evaluate.translate`. This file knows no layer.

The loop carries every id so far, so that no step gives ids of shape (B, 0), and it reads the
cross-attention memories from outside: `max_steps = 0` still computes them.

Shapes: B sentences, K hypotheses a sentence, R = B * K rows, T steps so far, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from .blocks import DecoderMemory, GraphSpec, decode_step
from .builder import GraphBuilder

PAD_ID, BOS_ID, EOS_ID = 0, 2, 3

MAX_STEPS, MIN_STEPS = "max_steps", "min_steps"
"""Graph inputs, int64 scalars: steps at most; steps before which the loop does not stop early."""

_FLOAT, _INT, _BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@dataclass(frozen=True)
class LoopState:
    """One value that the loop carries: what it starts as, and its type and shape."""

    name: str
    start: str
    onnx_type: int
    shape: tuple[str | int | None, ...]

    def info(self, name: str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, self.onnx_type, self.shape)


def decode(
    scope: GraphBuilder,
    plan: GraphSpec,
    memory: DecoderMemory,
    source_ids: str,
    length_penalty: float,
) -> str:
    """Add the loop; give the name of the ids, int64 (B, T), after the end token filled with
    padding.
    """
    batch = scope.op("Shape", source_ids, start=0, end=1)  # (1,)
    if plan.beam == 1:
        return _greedy(scope, plan, memory, batch)
    return _beam_search(scope, plan, memory, batch, length_penalty)


def _greedy(scope: GraphBuilder, plan: GraphSpec, memory: DecoderMemory, batch: str) -> str:
    carried = [
        LoopState("token", _filled(scope, batch, [1], BOS_ID), _INT, ("B", 1)),
        LoopState("ended", _filled(scope, batch, [1], False, np.bool_), _BOOL, ("B", 1)),
        LoopState("ids", _filled(scope, batch, [0], PAD_ID), _INT, ("B", None)),
        *_caches(scope, plan, batch),
    ]
    body = scope.body("step.")
    token, ended, ids, *past = (f"step.{value.name}" for value in carried)
    rows, present = decode_step(body, plan, memory, token, "step.index", past)
    token = body.op("Where", ended, body.constant(PAD_ID), plan.table.best(body, rows))  # (B, 1)
    ended = body.op("Or", ended, body.op("Equal", token, body.constant(EOS_ID)))
    ids = body.op("Concat", ids, token, axis=1)
    return _loop(scope, body, carried, [token, ended, ids, *present], ended)[2]


def _beam_search(
    scope: GraphBuilder, plan: GraphSpec, memory: DecoderMemory, batch: str, length_penalty: float
) -> str:
    """Beam search with a pool of the K best finished hypotheses.

    Each step continues the K live hypotheses by every token and keeps the best 2K. Those that end
    join the pool; the K best of the others live on. A sentence is closed once the pool's worst is
    no worse than the best live one would be if it were cut here. At `max_steps` the live ones are
    cut and join.
    """
    k = plan.beam
    only_first = scope.op(
        "Pad", scope.constant([0.0], np.float32), scope.constant([0, k - 1]), _negative(scope)
    )
    carried = [
        LoopState("token", _filled(scope, batch, [k], BOS_ID), _INT, ("B", k)),
        LoopState("closed", _filled(scope, batch, [1], False, np.bool_), _BOOL, ("B", 1)),
        LoopState("live", _filled(scope, batch, [k, 0], PAD_ID), _INT, ("B", k, None)),
        LoopState(
            "live_sum", scope.op("Expand", only_first, _shape(scope, batch, [k])), _FLOAT, ("B", k)
        ),
        LoopState("done", _filled(scope, batch, [k, 0], PAD_ID), _INT, ("B", k, None)),
        LoopState("done_score", _filled(scope, batch, [k], -np.inf, np.float32), _FLOAT, ("B", k)),
        *_caches(scope, plan, scope.op("Mul", batch, scope.constant(k))),
    ]
    body = scope.body("step.")
    token, closed, live, live_sum, done, done_score, *past = (
        f"step.{value.name}" for value in carried
    )
    rows, present = decode_step(body, plan, memory, token, "step.index", past)
    sums, parent, token = _continue(body, plan, rows, live_sum)  # each (B, 2K)
    grown = _append(body, _pick(body, live, parent), token)  # (B, 2K, T + 1)
    ends = body.op("Equal", token, body.constant(EOS_ID))
    step = body.op("Add", "step.index", body.constant(1))
    length = body.op(
        "Pow", body.op("Cast", step, to=_FLOAT), body.constant(length_penalty, np.float32)
    )
    finishes = body.op(
        "And", body.op("Not", closed), body.op("Or", ends, body.op("Equal", step, MAX_STEPS))
    )
    scores = body.op("Where", finishes, body.op("Div", sums, length), _negative(body))
    pool = body.op("Concat", done_score, scores, axis=1)  # (B, 3K)
    done_score, best = body.ops("TopK", pool, body.constant([k]), outputs=2, axis=1)  # (B, K)
    padded = body.op("Pad", done, body.constant([0, 0, 0, 0, 0, 1]), body.constant(PAD_ID))
    done = _pick(body, body.op("Concat", padded, grown, axis=1), best)
    alive = body.op("Where", ends, _negative(body), sums)
    live_sum, best = body.ops("TopK", alive, body.constant([k]), outputs=2, axis=1)
    token = body.op("GatherElements", token, best, axis=1)
    cut = body.op("Div", _columns(body, live_sum, 0, 1), length)
    full = body.op("GreaterOrEqual", _columns(body, done_score, k - 1, k), cut)
    closed = body.op("Or", closed, full)
    rows = _rows(body, plan, body.op("GatherElements", parent, best, axis=1))
    caches = [body.op("Gather", cache, rows) for cache in present]
    state = [token, closed, _pick(body, grown, best), live_sum, done, done_score, *caches]
    hypotheses = _loop(scope, body, carried, state, closed)[4]
    return scope.op("Gather", hypotheses, scope.constant(0), axis=1)  # (B, T)


# -- parts of beam search
# ------------------------------------------------------------------------------------------


def _continue(
    body: GraphBuilder, plan: GraphSpec, rows: str, live_sum: str
) -> tuple[str, str, str]:
    """The best 2K continuations of each sentence: sums of log p, live hypothesis, token; each (B,
    2K).

    They are among the 2K likeliest tokens of each hypothesis.
    """
    log_p, tokens = plan.table.likeliest(body, rows, 2 * plan.beam)  # (R, C)
    per_row = body.op("Shape", tokens, start=1, end=2)
    sums = body.op("Add", log_p, body.op("Reshape", live_sum, body.constant([-1, 1])))
    by_sentence = body.op("Shape", live_sum, start=0, end=1)
    shape = body.op("Concat", by_sentence, body.constant([-1]), axis=0)
    best, index = body.ops(
        "TopK", body.op("Reshape", sums, shape), body.constant([2 * plan.beam]), outputs=2, axis=1
    )
    token = body.op("GatherElements", body.op("Reshape", tokens, shape), index, axis=1)
    return best, body.op("Div", index, per_row), token


def _pick(body: GraphBuilder, hypotheses: str, index: str) -> str:
    """Rows `index` (B, N) of ids (B, M, T), as (B, N, T)."""
    return body.op(
        "GatherND", hypotheses, body.op("Unsqueeze", index, body.constant([2])), batch_dims=1
    )


def _append(body: GraphBuilder, hypotheses: str, token: str) -> str:
    return body.op("Concat", hypotheses, body.op("Unsqueeze", token, body.constant([2])), axis=2)


def _columns(body: GraphBuilder, x: str, first: int, last: int) -> str:
    return body.op("Slice", x, body.constant([first]), body.constant([last]), body.constant([1]))


def _rows(body: GraphBuilder, plan: GraphSpec, parent: str) -> str:
    """Hypothesis (B, K) of each new hypothesis, as rows (R,) of the caches."""
    count = body.op("Squeeze", body.op("Shape", parent, start=0, end=1))
    sentence = body.op("Range", body.constant(0), count, body.constant(1))  # (B,)
    offset = body.op(
        "Unsqueeze", body.op("Mul", sentence, body.constant(plan.beam)), body.constant([1])
    )
    return body.op("Reshape", body.op("Add", parent, offset), body.constant([-1]))


# -- parts of both
# -------------------------------------------------------------------------------------------------


def _caches(scope: GraphBuilder, plan: GraphSpec, rows: str) -> list[LoopState]:
    """Keys and values of every layer's self-attention, at first of length 0; `rows` is a shape
    (1,).
    """
    made = []
    for i, layer in enumerate(plan.arch.decoder_layers):
        tail = [layer.self_heads, 0, plan.space.qkv_dim // layer.self_heads]
        empty = _filled(scope, rows, tail, 0.0, np.float32)
        for part in ("keys", "values"):
            made.append(LoopState(f"{part}_{i}", empty, _FLOAT, ("R", tail[0], None, tail[2])))
    return made


def _loop(
    scope: GraphBuilder,
    body: GraphBuilder,
    carried: Sequence[LoopState],
    state: Sequence[str],
    ended: str,
) -> list[str]:
    """Close the body; run it until all is `ended` (and not before MIN_STEPS) or MAX_STEPS is
    reached.
    """
    open_left = body.op("Not", body.op("Equal", _minimum(body, ended), body.constant(1, np.int32)))
    step = body.op("Add", "step.index", body.constant(1))
    go_on = body.op("Or", open_left, body.op("Less", step, MIN_STEPS))
    scalar = [
        helper.make_tensor_value_info(f"step.{name}", kind, [])
        for name, kind in (("index", _INT), ("go", _BOOL))
    ]
    inputs = [*scalar, *(value.info(f"step.{value.name}") for value in carried)]
    outputs = [helper.make_tensor_value_info(go_on, _BOOL, [])]
    outputs += [value.info(name) for value, name in zip(carried, state, strict=True)]
    graph = body.graph("step", inputs, outputs)
    starts = [value.start for value in carried]
    return scope.ops(
        "Loop", MAX_STEPS, scope.constant(True, np.bool_), *starts, outputs=len(carried), body=graph
    )


def _minimum(body: GraphBuilder, flags: str) -> str:
    return body.op("ReduceMin", body.op("Cast", flags, to=TensorProto.INT32), keepdims=0)


def _shape(scope: GraphBuilder, rows: str, tail: Sequence[int]) -> str:
    return scope.op("Concat", rows, scope.constant(tail), axis=0)


def _filled(
    scope: GraphBuilder,
    rows: str,
    tail: Sequence[int],
    value: float,
    dtype: type[np.generic] = np.int64,
) -> str:
    """A tensor of shape (rows, *tail), the same value everywhere; `rows` is a shape (1,)."""
    return scope.op("Expand", scope.constant(value, dtype), _shape(scope, rows, tail))


def _negative(scope: GraphBuilder) -> str:
    return scope.constant(-np.inf, np.float32)
